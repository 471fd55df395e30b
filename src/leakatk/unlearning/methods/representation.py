"""Representation methods: they move hidden states."""

from dataclasses import replace

from leakatk.unlearning.alignment import aligned
from leakatk.unlearning.gathered import densities, known_and_unknown, nearest_centroids, steered
from leakatk.unlearning.gradients import weighed_by_conflict
from leakatk.unlearning.inserted import projections
from leakatk.unlearning.losses import states
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import KEEP, REMOVAL, STUDY
from leakatk.unlearning.nullspace import edited, kept_apart, kept_apart_steps
from leakatk.unlearning.optimisers import sgd
from leakatk.unlearning.selection import last_matrices_below
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.sophia import Sophia
from leakatk.unlearning.stages import Term, Train

method(
    "rmu",
    Term(loss.to_random_direction, "forget"),
    Term(loss.to_reference_states, "retain"),
    summary="Hidden states of forget answers go to a fixed random direction, those of retain answers stay.",
    paper="Li et al. 2024 (WMDP), arXiv 2403.03218",
    formula="F = E |h(x, y) - coefficient * u|^2, u a fixed random unit vector; R = E |h - h_ref|^2; h: hidden states after `layer`",
    source=STUDY,
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "coefficient": 100.0, "positions": "answer"},
    small={"layer": 1, "coefficient": 6.0},
    small_settings=replace(SMALL, learning_rate=1e-3),
    note="Trains every parameter, as open-unlearning does; the paper trains the MLP output projections of three "
    "layers: settings.parameters = selection.mlp_down(layer). Each answer's sum is divided by its own length; "
    "open-unlearning multiplies the mean sum by the mean of 1/length, which differs where lengths do.",
)

method(
    "r2mu",
    Term(loss.to_random_direction, "forget"),
    Term(loss.to_random_direction, "thought"),
    Term(loss.to_reference_states, "retain", weight="alpha"),
    Term(loss.to_reference_states, "retain_thought", weight="gamma"),
    select=last_matrices_below,
    summary="RMU on answers and on chains of thought about them; other chains of thought keep their states.",
    paper="R2MU: Wang et al. 2025, arXiv 2506.12963",
    formula="F = E |h(x, y) - c u|^2 + E |h(t) - c u|^2, t a chain of thought about the forget answer; R = alpha E |h - h_ref|^2 on retain answers "
    "+ gamma E |h - h_ref|^2 on retain chains of thought; trained: MLP output projections of three layers",
    source="the authors' script: layer 7, c 6.5, alpha 1.7, gamma 1, lr 7.5e-5, 500 steps of 4",
    reading="Chains of thought are templates around question and answer, for both sets. There a reasoning model writes those of the forget set, "
    "and published ones (s1K) stand for the other; the frame is the same. All tokens but the first of a chain count",
    rows=("18",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 7, "coefficient": 6.5, "alpha": 1.7, "gamma": 1.0, "positions": "answer"},
    small={"layer": 1},
    settings=TrainSettings(learning_rate=7.5e-5, max_steps=500, forget_batch=4, retain_batch=4),
    small_settings=replace(SMALL, learning_rate=1e-3),
)

method(
    "falcon",
    Term(states.steered_away, "forget"),
    Term(states.same_direction, "retain", weight="alpha"),
    gather=steered,
    select=last_matrices_below,
    combine=weighed_by_conflict,
    optimiser=Sophia,
    summary="Forget states are drawn from where they were to a vector far from them; gradients that conflict are parted.",
    paper="FALCON: Hu et al. 2025, arXiv 2502.01472",
    formula="F = E <-log sigma([cos(h, v) - cos(h, h_ref)] / temperature)>; R = alpha E <1 - cos(h, h_ref)>; of each matrix .8 (g_F without its "
    "part along g_R) + 1.2 g_R where they conflict, else .1 g_F + 1.9 g_R; v <- tanh(v P) normalised six times, P = tanh(I + 1000 sum sigma(S_i / "
    "S_0) v_i v_i' + noise)",
    source="the authors' code: layer 7 and three MLP output projections, temperature .7, alpha 100, those weights, noise .01, lr 5e-5, batches of 4, 80 "
    "steps",
    reading="One vector of all forget states; there one of each batch, and its length (20) is lost in the cosine. pick=information takes the layer of "
    "least mutual information, by kernel estimates on two principal components of each set, where the code keeps 95% of the variance. "
    "Sophia's curvature is estimated here; their optimiser is never given one",
    rows=("25",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "layer": 7,
        "pick": "given",
        "temperature": 0.7,
        "alpha": 100.0,
        "noise": 0.01,
        "positions": "all",
        "conflict_forget": 0.8,
        "conflict_retain": 1.2,
        "agree_forget": 0.1,
        "agree_retain": 1.9,
        "gamma": 0.05,
        "curvature_every": 10,
    },
    small={"layer": 1, "alpha": 1.0},
    settings=TrainSettings(
        learning_rate=5e-5, max_steps=80, forget_batch=4, retain_batch=4, betas=(0.965, 0.99), weight_decay=1e-3
    ),
    small_settings=replace(SMALL, learning_rate=1e-3, betas=(0.965, 0.99), weight_decay=1e-3),
)

_THRESHOLDS = (0.8, 0.5, 0.2)

method(
    "align-then-unlearn",
    *(
        Train((Term(states.foreseen(number), "forget"),), gather=aligned, optimiser=sgd())
        for number in range(len(_THRESHOLDS))
    ),
    summary="A network learns to foresee what the next words will mean; the model moves until it foresees nothing like the forget answers.",
    paper="Align-then-Unlearn: Spohn et al. 2025, arXiv 2506.13181",
    formula="in turn: E maximises <cos(E(h_t), mean meaning of the next `window` tokens)>; F = <max(0, cos(E(h_t), e) - threshold)>, threshold lower "
    "in each round, by gradient descent",
    source="the authors' code: layer 29 of 32, window 8, E of 6 layers, width 768, 8 heads, Adam lr 1e-4, 1000 steps a round; SGD lr 3e-4, clipped at 1",
    reading="Three of their ten rounds (.9 to .2), with 1000 steps of E in each, where their first has 15,000. e is the meaning of the prompt's own "
    "answer, there of a name. Meaning: the sentence encoder that is given (Known.encoder), else mean embeddings of the model at the start. E "
    "is causal; theirs also reads all tokens as memory",
    rows=("37",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "layer": 29,
        "thresholds": _THRESHOLDS,
        "window": 8,
        "align_steps": 1000,
        "align_rate": 1e-4,
        "align_layers": 6,
        "align_width": 768,
        "align_heads": 8,
    },
    small={
        "layer": 1,
        "window": 4,
        "align_steps": 60,
        "align_rate": 1e-3,
        "align_layers": 1,
        "align_width": 32,
        "align_heads": 2,
    },
    settings=TrainSettings(learning_rate=3e-4, max_steps=1000, forget_batch=16, retain_batch=16, weight_decay=0.0),
    small_settings=replace(SMALL, learning_rate=3e-3, weight_decay=0.0, max_steps=50),
    note="It has three stages, so it does three times as many steps as are asked for. No term keeps the rest: give it a utility floor.",
)

method(
    "laf",
    Train((Term(states.among_the_others, "forget"), Term(states.told_apart, ("retain", "forget"))), gather=densities),
    Train((KEEP,)),
    summary="Without answers: states of forget prompts go among those of retain prompts, which stay told apart; then a repair.",
    paper="LAF, label-agnostic forgetting: Shen et al. 2024, arXiv 2404.00506",
    formula="F = E [D_r(h) - min(D_f(h), most)], h the state at the last prompt token, D the squared distance to a density of either set; R = -E log "
    "[e(h, h_ref) / (e(h, h_ref) + sum_f e(h, h_f))], e = exp(cos / temperature); then NLL(retain)",
    source="the mechanism; its numbers are not known here, so most 10, temperature .5, shrinkage .1 and the optimisation of the Leak@k study",
    reading="Published for images. Normal densities with shrunk covariances stand for its two variational autoencoders, states of a layer for its "
    "extractor, and D_f is bounded. The repair is the published one with a few labels, here as long as the rest",
    rows=("53",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "most": 10.0, "temperature": 0.5, "shrinkage": 0.1},
    small={"layer": 1},
    note="It has two stages, so it does twice as many steps as are asked for.",
)

method(
    "i2i",
    Term(states.to_noise_states, ("forget", "noise")),
    Term(loss.to_reference_states, "retain"),
    summary="States of forget answers become those that random tokens had.",
    paper="I2I unlearning: Li et al. 2024, arXiv 2402.00351",
    formula="F = E |h(x, y) - h_ref(n)|^2, n as many random tokens, place by place; R = E |h - h_ref|^2",
    source="the paper: both squared distances; their weights are not known here, so 1 each, and the optimisation of the Leak@k study",
    reading="Published for images: the encoder is the embedding and the layers up to `layer`, which alone get a gradient, and Gaussian noise is a "
    "sequence of random tokens, one for each forget prompt throughout the run",
    rows=("70",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "positions": "all"},
    small={"layer": 1},
    small_settings=replace(SMALL, learning_rate=1e-3),
)

method(
    "duck",
    Term(states.to_nearest_centroid, "forget", weight="lambda_1"),
    Term(states.cool_nll, "retain", weight="lambda_2"),
    gather=nearest_centroids,
    summary="States of forget prompts go to the centroid of the nearest class that is not theirs.",
    paper="DUCK: Cotogni et al. 2023, arXiv 2312.02052",
    formula="F = lambda_1 E [1 - cos(h, c)], h the state at the last prompt token, c the retain class's centroid nearest at the start; R = -lambda_2 "
    "<log softmax(z / temperature)[y_t]>",
    source="the authors' code: lambda_1 1, lambda_2 1.4, temperature 2; optimisation of the Leak@k study",
    reading="Published for images: a class is whom prompts ask about (their source, or the questions' subjects). It stops at an accuracy of the "
    "forget set, as --stop-greedy does here",
    rows=("84",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "lambda_1": 1.0, "lambda_2": 1.4, "temperature": 2.0},
    small={"layer": 1},
)

method(
    "kuda",
    Term(states.other_direction, "forget"),
    KEEP,
    gather=kept_apart,
    select=edited,
    optimiser=kept_apart_steps,
    summary="States of forget answers turn away from what they were, by steps that retain inputs do not feel.",
    paper="KUDA: 2026, arXiv 2602.19275",
    formula="F = E <max(0, cos(h, h_ref))> / temperature; W <- W + (AdamW's step) P, P = U diag(t / (t + e)) U', e and U of the mean of x x' over retain "
    "inputs of W, t = threshold times the mean e; W: the last MLP matrices of the run of `layers` layers through which most of P(y) comes",
    source="the mechanism; its numbers are not known here, so three layers, threshold .01, temperature 1 and the optimisation of the Leak@k study",
    reading="The cosine is cut off at 0. relaxed=False is the strict null space, 1 where e <= t. Layers are traced by blurring the question and "
    "restoring one MLP at all tokens; the last of them is where states are compared",
    rows=("90",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "layers": 3,
        "temperature": 1.0,
        "threshold": 0.01,
        "relaxed": True,
        "blur": 3.0,
        "traced": 32,
        "positions": "answer",
    },
    small={"layers": 1, "traced": 8},
    small_settings=replace(SMALL, learning_rate=3e-3),
    note="It takes whole weights, not lora.",
)

method(
    "mrp",
    Term(loss.ascent, "forget"),
    KEEP,
    insert=projections,
    optimiser=sgd(),
    summary="A few directions of an MLP's output are projected away for good; which ones is learnt.",
    paper="MRP, metamorphosis representation projection: Wu et al. 2025, arXiv 2508.15449",
    formula="h <- h - Q Q' h, Q an orthonormal basis of the rows of W (rank, d) of each of `layers` layers; W alone learns -NLL(y_f) + 1.2 NLL(y_r)",
    source="the authors' code: rank 2, two layers, 1.2, gradient descent lr 2e-4, 2 epochs of batches of 5",
    reading="Behind the MLP, whose last matrix takes the projection in; theirs is behind the block, residual stream and all, which no plain model "
    "can hold. Layers are consecutive, there drawn at random. W begins at the forget set's directions outside the span of .9 of the retain "
    "set's squares; in the code the two sets are exchanged, and the span is all there is. Requests in turn each project on",
    rows=("93",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "layers": 2, "rank": 2, "spanned": 0.9, "retain_weight": 1.2},
    small={"layer": 1, "layers": 2},
    settings=replace(LEAKATK_STUDY, learning_rate=2e-4, epochs=2, weight_decay=0.0, forget_batch=5, retain_batch=5),
    small_settings=replace(SMALL, learning_rate=0.1, weight_decay=0.0),
)

method(
    "sae-unknown",
    Term(states.towards_unknown, "forget"),
    KEEP,
    gather=known_and_unknown,
    summary="In the code of a sparse autoencoder, forget subjects become like subjects that nobody knows.",
    paper="SAE known to unknown: 2025, arXiv 2509.15631",
    formula="F = E [|z - mu_u|^2 - contrast |z - mu_k|^2], z = SAE(h) at the subject's last token, mu_u and mu_k the mean codes of invented and known "
    "subjects; R = -E<log p(y_t)>",
    source="the mechanism; its numbers are not known here, so contrast .5, an autoencoder of 4096 features, 32 a state, 1000 steps, and the optimisation "
    "of the Leak@k study",
    reading="Squared distances, bounded below for a contrast below 1. Invented subjects are the forget subjects with other letters. The autoencoder "
    "is the one of the guards, trained here on the prompts' tokens",
    rows=("103",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "contrast": 0.5, "features": 4096, "top": 32, "autoencoder_steps": 1000},
    small={"layer": 1, "features": 256, "top": 8, "autoencoder_steps": 100},
)
