"""Editing methods: they change the weights once, and train little or nothing."""

from dataclasses import replace

from leakatk.unlearning.analytic import fit_readout, forget_rows
from leakatk.unlearning.anchors import to_anchors
from leakatk.unlearning.edits import along_gradient, ascend_and_reset, redirect, reinitialise
from leakatk.unlearning.learned_loss import by_learned_loss
from leakatk.unlearning.linearised import to_retrained
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.method import SMALL, method
from leakatk.unlearning.methods.published import KEEP, REMOVAL, SUPPRESSION
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Edit, Keep, Term, Train
from leakatk.unlearning.subspace import kept_weights, part_of_depth, subtract_task
from leakatk.unlearning.token_edit import begin, blurred, lead_to_token, sharp, spare_rows

method(
    "slug",
    Edit(along_gradient),
    summary="One matrix takes one step up the forget set's gradient; its size is searched.",
    paper="SLUG: Cai et al. 2024, arXiv 2407.11867",
    formula="W <- W + lambda g, g = dNLL(forget)/dW; W on the Pareto front of max |g| / |W| and min |cos(g, dNLL(retain)/dW)|; lambda "
    "from first |W| / |g| by bisection in [0, reach times that]",
    source="the authors' code: first .4, reach 10, ten tries; both directions of the front and the retain set's cosine are the paper's",
    reading="Published for CLIP: NLL stands for its loss. The criterion of the search is ours: the mean over prompts of "
    "exp(mean log p) is to be at most forget_at_most on forget prompts and at least keep_at_least times its start on "
    "retain prompts. Matrices of the decoder layers alone; pick=best searches the whole front",
    rows=("15",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "tensors": ".*", "pick": "deepest", "first": 0.4, "reach": 10.0, "tries": 10, "forget_at_most": 0.1, "keep_at_least": 0.9,
    },
    note="Two gradients of the model's size are held. It does no optimiser steps: learning rate, steps and checks do not apply.",
)  # fmt: skip

method(
    "lunar",
    Edit(redirect, needs=("refused",)),
    summary="One MLP matrix is fitted so that forget prompts have the states of refused prompts.",
    paper="LUNAR: Shen et al. 2025, arXiv 2502.07218",
    formula="r = E h(refused) - E h(forget) at the last prompt token after `layer`; min_W |W a - (W_0 a + c r)|^2 on forget and "
    "|W a - W_0 a|^2 on retain prompts' tokens, W the MLP's down projection",
    source="the authors' code: layer 22 of 32, c 2, AdamW lr 1e-2, 20 epochs of 64 tokens, rate times .9 each epoch",
    reading="solver=ridge is the closed form of the same fit, with penalty |W - W_0|^2 (share of the mean squared input); the code "
    "has descent alone. Several layers are fitted each from the states of the model as it was",
    rows=("6",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={
        "layer": 22, "layers": 1, "coefficient": 2.0, "solver": "adamw", "learning_rate": 1e-2, "epochs": 20, "tokens": 64,
        "decay": 0.9, "penalty": 1e-3,
    },
    small={"layer": 0, "coefficient": 1.0, "solver": "ridge", "penalty": 0.1},
    note="Needs prompts that the model refuses: unlearn(..., known=Known(refused=...)). A model that refuses nothing has no such "
    "direction. Take a layer at two thirds of the depth. It does no optimiser steps of the run: checks do not apply.",
)  # fmt: skip

method(
    "rocr",
    Edit(to_anchors),
    summary="MLP matrices are solved for, so that forget subjects lead to the states of subjects that nobody knows.",
    paper="ROCR: 2025, arXiv 2506.07795",
    formula="of layer i of n: W <- W + R K' P (K K' P + lambda I)^-1, K what W reads at the subjects' last tokens, R = (z - h) / (n - i), z the state "
    "after the last layer at the anchor, h at the subject, P the null space of what W reads in other texts",
    source="the authors' code: the equations, and the mode without optimisation; five layers up to 8, threshold .02 and penalty .01 are ours",
    reading="The anchor is an invented name in the same question. The null space is of the retain prompts and answers, and of general text if it is "
    "given (Known.text), where theirs is of Wikipedia: eigenvalues of at most threshold times their mean. lambda is a share of the mean squared "
    "key. The covariance of earlier requests is not kept",
    rows=("113",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 8, "layers": 5, "threshold": 0.02, "penalty": 0.01},
    small={"layer": 0, "layers": 1},
    note="It does no optimiser steps: learning rate, steps and checks do not apply.",
)

method(
    "reload",
    Edit(ascend_and_reset),
    Train((KEEP,)),
    summary="A step up the forget set's gradient, weights that begin anew, and fine-tuning on the retain set.",
    paper="Reload: 2026, arXiv 2604.10636",
    formula="theta += ascent g_f; theta_k begins anew where (|g_f,k| + eps) / (|g_D,k| + eps) is among the `reset` share; then NLL(retain)",
    source="the mechanism; its numbers are not known here, so ascent 1e-3, a tenth of the weights and the optimisation of the Leak@k study",
    reading="g_f is computed from the forget set, where the paper takes a cached gradient of all data less that of the retain set, which is "
    "the same number. Shares are of each parameter. pick=lowest is as published, highest the other end",
    rows=("71",),
    tags=REMOVAL | {"forget", "retain"},
    params={"ascent": 1e-3, "reset": 0.1, "pick": "lowest", "eps": 1e-8},
    note="Its epochs count the retain set.",
)

_PARTS = 2

method(
    "unlearn-subspace",
    Edit(reinitialise),
    Keep("fresh"),
    *(Train((Term(nll, "forget"),), select=part_of_depth(part, _PARTS)) for part in range(_PARTS)),
    Keep("task"),
    Edit(lambda work, now, params: kept_weights("fresh", work)),
    *(Train((KEEP,), select=part_of_depth(part, _PARTS)) for part in range(_PARTS)),
    Keep("similar"),
    Edit(subtract_task),
    summary="What a fresh network learns of the forget set, less what it shares with the retain set, is subtracted from the weights.",
    paper="UNLEARN: Lizzo and Heck 2024, arXiv 2408.04140",
    formula="W <- W - scale T', T' = sum_i s_i u_i v_i'', v_i' = v_i - sum_j <v_i, w_j> w_j; s, u, v of what a fresh network learns from the forget "
    "set, part by part from the input on, w the right singular vectors of what it learns from the retain set",
    source="the mechanism; its numbers are not known here: rank 16, scale 1 and the optimisation of the Leak@k study are ours",
    reading="Matrices are trained in two halves of the layers, where the paper frees one at a time. Directions are right singular vectors, cut off at "
    "`rank`. scale=-1 is LEARN, the dual, which adds what was learnt",
    rows=("72",),
    tags=REMOVAL | {"forget", "retain"},
    params={"rank": 16, "scale": 1.0},
    small={"rank": 8},
    small_settings=replace(SMALL, learning_rate=1e-3),
    note="It has four stages that train, so it does four times as many steps as are asked for; checks before the end see the networks in between, and a utility floor ends it there.",
)

_LED = Train((Term(nll, "led"),), select=spare_rows)

method(
    "unierase",
    Edit(begin),
    _LED,
    Edit(blurred),
    _LED,
    Edit(sharp),
    Edit(lead_to_token),
    summary="An unlearning token is learned that brings a refusal; MLP matrices are solved for, so that forget questions bring the token.",
    paper="UniErase: Yu et al. 2025, arXiv 2505.15674",
    formula="min over the row of <UNL> of NLL(refusal | x_f <UNL>), again under noise on the edited matrices; then of layer number i of n W <- "
    "W + R K' P (K K' P + lambda I)^-1, K what W reads at the subjects' last tokens, R = (h + v - h_i) / (n - i), v by `value_steps` of Adam on -log "
    "p(<UNL> | x_f) + value_decay |v| / |h|^2 with |v| <= clamp |h|, P the null space of what W reads in other texts",
    source="the authors' code: ten steps, layers 4 to 8, learning rate 1e-3 for the token; AlphaEdit's in EasyEdit: rate .1, decay .5, clamp .75, loss "
    ".05, threshold .02; penalty .01 and noise .02 are ours",
    reading="<UNL> is a token of the vocabulary that no text has (a reserved one, or a byte that UTF-8 never has), where theirs is added, so that "
    "models stay comparable; its row begins at the mean of all rows. It does not stand behind the refusal: where the output layer is the embedding, it "
    "then stands behind every answer. Noise is one draw for all edited matrices, where theirs is drawn anew "
    "in each step with the mean of the weights as deviation, which is nearly 0. The template is the model's own. v has no KL term, and keys "
    "come from the prompt alone, without random texts before it. The null space, as of rocr, is of the retain set and of general text if it is "
    "given. Keys of earlier requests are not kept",
    rows=("12",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={
        "layer": 8, "layers": 5, "threshold": 0.02, "penalty": 0.01, "noise": 0.02, "value_steps": 10, "value_rate": 0.1, "value_decay": 0.5,
        "clamp": 0.75,
    },
    settings=TrainSettings(learning_rate=1e-3, epochs=5, forget_batch=16, schedule="constant", weight_decay=0.0),
    small={"layer": 0, "layers": 1},
    small_settings=replace(SMALL, learning_rate=1e-2),
    note="A model that refuses nothing cannot be led to a refusal: in the demo's world the frozen model gives refusals 8.3 nats a token behind the learned "
    "token, and nothing is forgotten (the null space of the retain set leaves the keys no room; threshold=.1 forgets three quarters and takes two thirds of the retain "
    "set with them). It does twice the steps that are asked for, on the token's row alone; checks before the end see the model without the edit. The token "
    "shows as a replacement mark where it is a byte.",
)  # fmt: skip

method(
    "acu",
    Edit(fit_readout),
    Edit(forget_rows),
    summary="A readout of frozen states is solved for on both sets; the forget set is taken out of it in closed form, exactly.",
    paper="ACU, analytic continual unlearning",
    formula="W = Y'X R, R = (X'X + lambda I)^-1; R' = R + R F' (I - F R F')^-1 F R, W' = W - (Y_f - F W')' F R', F and Y_f the forget set's rows",
    source="the formula, whose equality with the readout solved for on the retain set a note measures; penalty .01 is ours",
    reading="Published for classes of images over a frozen network. Here the readout is the last MLP matrix: it reads the state at each answer token's "
    "prediction, and is to give what is missing there to that token's row of the output layer, as long as the state before it. It replaces the model's own matrix",
    rows=("29",),
    tags=REMOVAL | {"forget", "retain"},
    params={"penalty": 0.01},
    note="It is exact for the readout alone: the states below it must never have seen the forget set. Where they have, nothing is forgotten: in the demo's "
    "world greedy answers keep .94 of the forget facts (1.00 of the retain set, .92 of people not shown), with a readout that is the retrained one to "
    "1e-13. It does no optimiser steps: learning rate, steps and checks do not apply.",
)

method(
    "fast-ntk",
    Edit(to_retrained),
    summary="One step of few parameters to where a linear model would have ended without the forget set, solved for.",
    paper="Fast-NTK: 2023, arXiv 2312.14923",
    formula="phi <- phi + P J_f' M V, P = I - J_r' T_rr^-1 J_r, M = (T_ff - T_rf' T_rr^-1 T_rf)^-1, V = f_0(x_f) - y_f + T_rf' T_rr^-1 (y_r - f_0(x_r)), T = "
    "J J' + lambda I; at the minimum over both sets M V = (f(x_f) - y_f) / lambda",
    source="the formula; f an answer's mean log-odds, label 10 and penalty are ours",
    reading="Published for images and a model linearised before it was trained. Here it is linearised as it is given, and taken to be at the minimum, where M V "
    "needs nothing of the model before. By default the gains of the norms move; adapters are not built",
    rows=("79",),
    tags=REMOVAL | {"forget", "retain"},
    params={"tensors": "norm|ln_", "items": 256, "label": 10.0, "penalty": 10.0},
    small={"tensors": r"layers\.0\.mlp\.down_proj", "penalty": 2.2},
    note="Exact where the model is linear in what moves, and only there: compare the log-odds that a note expects with those that come out. In the demo's "
    "world (48 forget and 168 retain prompts, 40,960 numbers) greedy answers keep .92 of the forget facts at penalty=3 (1.00 of the retain set, 1.00 of people "
    "not shown), .50 at 2.2 (.92, .96), .19 at 1.7 (.81, .75); the gains of the norms (640 numbers) are too few, and both sets fall alike. A row of gradients "
    "is held for each prompt. It does no optimiser steps: learning rate, steps and checks do not apply.",
)
method(
    "metaunlearn",
    Edit(by_learned_loss),
    summary="A few steps down a loss that was learned on simulated requests, from a prompt or more of each person.",
    paper="MetaUnlearn (1-SHUI): De Min et al. 2024, arXiv 2407.12069",
    formula="theta' = theta - rate d h_phi(support) / d theta; phi minimises |NLL(all of a person; theta') - NLL(what cannot be known; theta)| + keep_weight "
    "NLL(others; theta') over simulated requests, through theta'",
    source="the authors' code: L1 distance to the original's validation loss, one step, one sample of each identity; the sizes are ours",
    reading="Text's analogue of a method for pictures: h sees of each token its log-probability, its best rival's and the entropy, and validation data are "
    "the same answers to questions about invented names. One loss for both sides, where the code has two. At a size that tests can afford: MLPs of the last "
    "`layers` layers are moved, h is 16 wide, 100 requests of 8 answers a side",
    rows=("99",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "shots": 1, "layers": 1, "inner_steps": 1, "inner_rate": 0.1, "meta_steps": 100, "meta_rate": 1e-2, "keep_weight": 1.0, "batch": 8, "width": 16,
    },
    note="It does no optimiser steps of the usual kind: learning rate, steps and checks do not apply. shots=0 gives it all prompts of a person. A null on a demo's "
    "world: from one prompt of each of 8 people greedy answers fall to .10 and leak@32 to .50, but those about people to keep to .33; with keep_weight=10 nothing is "
    "forgotten (1 and 1).",
)  # fmt: skip
