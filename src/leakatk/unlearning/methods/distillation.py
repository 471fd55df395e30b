"""Distillation methods, which learn from another distribution: the reference's, a changed one, or the uniform one."""

from dataclasses import replace

from leakatk.unlearning.edits import reinitialise, shrink_and_perturb
from leakatk.unlearning.inserted import behind_mlps
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.losses.outputs import as_decoded, first_logits, like_predicted, like_retrained
from leakatk.unlearning.method import LEAKATK_STUDY, method
from leakatk.unlearning.methods.published import (
    FIVE_EPOCHS,
    KEEP,
    OPEN_UNLEARNING,
    PER_TOKEN,
    REMOVAL,
    SUPPRESSION,
    TOFU,
)
from leakatk.unlearning.stages import Edit, Keep, Term, Train
from leakatk.unlearning.weighting import focused

method(
    "kl",
    Term(loss.ascent, "forget"),
    Term(loss.kl_from_reference, "retain"),
    summary="Gradient ascent on the forget answers; on retain text the model stays what it was.",
    paper=TOFU,
    formula="F = E<log p(y_t)>; R = E<KL(p_ref || p)>, positions=all: <> over the question's tokens too",
    source="TOFU's code, loss; optimisation as in the Leak@k study" + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"positions": "all"},
    small={"positions": "answer"},
    note="The retain term is KL(reference || model), after every token of question and answer. TOFU pads each text to 500 "
    "tokens and open-unlearning to the batch's longest, and both count the padding in the mean; ours does not.",
)

method(
    "undial",
    Term(loss.undial, "forget"),
    KEEP,
    weigh=focused,
    summary="Self-distillation towards the own logits with the true token's lowered.",
    paper="UNDIAL: Dong et al. 2024, arXiv 2402.10052",
    formula="F = cross entropy to softmax(z_ref - strength * onehot(y_t)), E<...>; positions=all: also to softmax(z_ref) on x",
    source=OPEN_UNLEARNING + ": strength 10, no retain term, lr 1e-4, 10 epochs" + PER_TOKEN,
    rows=("9",),
    tags=REMOVAL | {"forget"},
    params={"strength": 10.0, "retain_weight": 0.0, "positions": "all", "focus": "all"},
    small={"positions": "answer"},
    settings=replace(LEAKATK_STUDY, learning_rate=1e-4),
    note="After question tokens the target is the reference itself, as in open-unlearning, which there lowers the logit of "
    "token V-100 by its mark for no label. Its mean counts padding too; ours does not. retain_weight above 0 adds the "
    "retain loss; its sweep tries 1, 2 and 5. focus=keys with positions=answer is its form for names and nouns, of which it takes names and "
    "numbers.",
)

method(
    "ce-u",
    Term(loss.ce_u, "forget"),
    KEEP,
    summary="Cross entropy to the own distribution without the true token.",
    paper="CE-U: arXiv 2503.01224",
    formula="F = cross entropy to softmax(z with z[y_t] = -inf), E<...>, the first skip_first tokens left out",
    source=OPEN_UNLEARNING + PER_TOKEN,
    tags=REMOVAL | {"forget"},
    params={"skip_first": 1, "retain_weight": 0.0},
    small={"retain_weight": 1.0},
    note="open-unlearning's has no retain term; retain_weight above 0 adds the retain loss.",
)

method(
    "me",
    Term(loss.kl_from_uniform, "forget"),
    KEEP,
    summary="Every token equally likely on forget text.",
    paper="ME+GD: Yuan et al. 2024, arXiv 2410.08109",
    formula="F = E<KL(uniform || p)>, positions=all: <> over the question's tokens too",
    source="the paper's code: forget weight .1, question and answer tokens alike, lr 1e-5, 5 epochs, batch 32"
    + PER_TOKEN,
    rows=("59",),
    tags=REMOVAL | {"forget", "retain"},
    params={"forget_weight": 0.1, "positions": "all"},
    small={"forget_weight": 1.0, "positions": "answer"},
    settings=FIVE_EPOCHS,
    note="The loss is KL(uniform || model). The paper's code pads each text to 500 tokens and counts the padding in the mean; "
    "ours leaves it out, so each token of the text weighs more.",
)

method(
    "jensun",
    Term(loss.js_to_pattern, ("forget", "no_idea")),
    Term(loss.js_from_reference, "retain"),
    summary="Bounded both ways: forget answers towards a short refusal, retain answers towards what they were.",
    paper="JensUn: Singh et al. 2025, arXiv 2509.02820",
    formula="F = E<JS(delta_{c_t}, p(. | x, y_<t))>, c the tokens of 'No idea' repeated over the answer; R = E<JS(p_ref, p)>",
    source="the authors' code: both weights 1, lr 8e-6, 10 epochs" + PER_TOKEN,
    reading="The refusal's tokens are those that the model's tokenizer gives it as an answer; the code has their numbers. Its JS counts "
    "a probability as at least 1e-9",
    rows=("77",),
    tags=SUPPRESSION | {"forget", "retain"},
    settings=replace(LEAKATK_STUDY, learning_rate=8e-6),
    note="The published runs train on paraphrases of forget and retain questions too: give them as prompts.",
)

method(
    "whp",
    Train((Term(loss.nll, "forget"),)),
    Keep("reinforced", back=True),
    Train((Term(loss.away_from, "forget"), KEEP)),
    summary="A copy is trained further on the forget set, and the model learns to say what that copy became less sure of.",
    paper="Who's Harry Potter: Eldan and Russinovich 2023, arXiv 2310.02238",
    formula="F = cross entropy to softmax(z_ref - alpha relu(z_reinforced - z_ref))",
    source="the paper: alpha 5; optimisation as in the Leak@k study",
    reading="The whole distribution is the target, where the paper takes its largest entry. No retain loss there: retain_weight 0",
    lacks="the dictionary of anchored terms, replaced by generic ones",
    tags=REMOVAL | {"forget"},
    params={"alpha": 5.0, "retain_weight": 0.0},
    note="Both training stages take the same steps. retain_weight above 0 adds the retain loss.",
)

method(
    "stochastic-teacher",
    Edit(reinitialise),
    Keep("fresh", back=True),
    Train((Term(loss.kl_from("fresh"), "forget"),)),
    Train((Term(loss.kl_from_reference, "retain"),)),
    summary="First the forget answers from a teacher that knows nothing, then the retain answers from the model as it was.",
    paper="Stochastic teacher network: Zhang et al. 2023",
    formula="F = E<KL(p_fresh || p)>, fresh a newly initialised network; then R = E<KL(p_ref || p)>",
    source="the mechanism: at most one epoch each; optimisation as in the Leak@k study",
    rows=("51",),
    tags=REMOVAL | {"forget", "retain"},
    params={"positions": "answer"},
    settings=replace(LEAKATK_STUDY, epochs=1),
)

method(
    "sbu",
    Term(loss.kl_from_noise, "forget"),
    Term(loss.kl_from_reference, "retain"),
    summary="Forget answers towards random distributions, drawn anew in each step; retain answers as they were.",
    paper="Synchronized Backflow Unlearning: 2026, arXiv 2602.17692",
    formula="F = E<KL(softmax(spread eps) || p)>, eps standard normal of the vocabulary's size; R = E<KL(p_ref || p)>",
    source="the paper's stochastic reference alignment; its numbers are not known here, so spread 1 and the optimisation of the Leak@k "
    "study",
    reading="The direction of KL and the law of the random logits; one draw a step for all tokens",
    rows=("73",),
    tags=REMOVAL | {"forget", "retain"},
    params={"spread": 1.0, "positions": "answer"},
)

method(
    "undo",
    Train((Term(loss.kl_from_uniform, "forget"), KEEP)),
    Keep("teacher"),
    Edit(shrink_and_perturb),
    Train((Term(loss.kl_from("teacher"), "forget"), Term(loss.kl_from("teacher"), "retain"))),
    summary="Unlearn, damage the weights, and distil the unlearned model into what is left.",
    paper="UNDO: Lee et al. 2025, arXiv 2506.06278",
    formula="teacher: F = E<KL(uniform || p)>, R = NLL; theta <- (1 - damage) theta + damage noise_scale N, N Xavier-uniform for "
    "matrices, 0 for vectors; student: E<KL(p_teacher || p)> on both sets",
    source="the authors' code: noise_scale .1, damage up to 1 (its language runs stop within 5% of the teacher's retain loss), student's lr "
    "9e-4",
    reading="Student and teacher take the same steps and rate here; the student learns from the forget and retain answers, there from "
    "pre-training text of both kinds. damage .3 is ours",
    rows=("78",),
    tags=REMOVAL | {"forget", "retain"},
    params={"damage": 0.3, "noise_scale": 0.1, "positions": "answer"},
)

method(
    "duet",
    Term(first_logits, ("forget", "told_to_forget")),
    Term(first_logits, ("retain", "retain_told_to_forget")),
    summary="What the model would begin to say if told to forget, it learns to say untold.",
    paper="DUET",
    formula="F + R = sum over x of both sets and v among the `top` tokens of Huber(z_v(x) - z_ref,v(x_told + x)) at the first place of the answer",
    source="the mechanism; its numbers are not known here, so top 100, delta 1 and the optimisation of the Leak@k study",
    reading="The instruction names the subjects of the forget questions and is ours. Questions alone are trained on, at the first "
    "place of their answers",
    rows=("24",),
    tags=SUPPRESSION | {"forget", "retain"},
    params={"top": 100, "delta": 1.0},
    note="It teaches what the model does with the instruction: one that does not follow it forgets nothing.",
)

method(
    "oracle-matching",
    Term(like_retrained, "forget"),
    Term(like_retrained, "retain"),
    needs=("auxiliary retrained",),
    summary="The margins of the retrained model, on both sets: what datamodel matching comes to with perfect predictions.",
    paper="Oracle matching: Georgiev et al. 2024, arXiv 2410.23232",
    formula="F, R = E (m - m_retrained)^2, m the mean over an answer's tokens of log(p / (1 - p))",
    source="the paper: squared error of margins on forget and retain points; optimisation as in the Leak@k study",
    reading="The paper matches the margin of a class; an answer's is the mean over its tokens. p counts as at most 1 - 1e-6",
    rows=("97",),
    tags=REMOVAL | {"forget", "retain"},
    note="It needs the retrained model, --auxiliary retrained=MODEL: a bound on matching, not a method.",
)

method(
    "dmm",
    Term(like_predicted, "forget"),
    Term(like_predicted, "retain"),
    needs=("margins",),
    summary="The margins that a datamodel predicts for a model without the forget set, on both sets.",
    paper="Datamodel matching (DMM): Georgiev et al. 2024, arXiv 2410.23232",
    formula="F, R = E (m - m_predicted)^2, m the mean over an answer's tokens of log(p / (1 - p))",
    source="the paper: squared error of margins on forget and retain points; optimisation as in the Leak@k study",
    reading="As in oracle-matching",
    rows=("97",),
    tags=REMOVAL | {"forget", "retain"},
    note="The predictions come from leakatk.estimate.datamodels, fitted on models that were trained on parts of the data: --margins FILE.",
)

method(
    "eul",
    Term(loss.away_from_reference, "forget"),
    Term(loss.kl_from_reference, "retain", weight="same_weight"),
    Term(loss.nll, "retain", weight="task_weight"),
    insert=behind_mlps,
    summary="Layers inserted behind the MLPs unlearn while the model itself is frozen; several requests' layers can be fused.",
    paper="EUL: Chen and Yang 2023 (Unlearn What You Want to Forget), EMNLP 2023",
    formula="F = -alpha E<min(KL(p_ref || p), most)> + ascent_weight E<log p(y_t)>; R = same_weight E<KL(p_ref || p)> + task_weight NLL",
    source="the mechanism; weights, rank and `most` are ours, optimisation as in the Leak@k study",
    reading="The layers are x + B A x without the bottleneck's nonlinearity, so that the result is a plain model. The KL of a token is bounded",
    rows=("11",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "alpha": 1.0, "most": 5.0, "ascent_weight": 0.1, "same_weight": 1.0, "task_weight": 1.0, "rank": 16, "positions": "answer",
    },
    settings=replace(LEAKATK_STUDY, learning_rate=1e-4),
    note="Several requests from one start, fused by RegMean: leakatk.unlearning.requests.apart.",
)  # fmt: skip


method(
    "dd-distil",
    Term(as_decoded, "forget"),
    Term(as_decoded, "retain"),
    needs=("auxiliary clean", "auxiliary dirty"),
    summary="One student learns what divergence decoding says with three models.",
    paper="Divergence Decoding, arXiv 2605.31293",
    formula="F, R = E<KL(q || p)>, q = softmax(z_ref + alpha (log p_clean - log p_dirty))",
    source="alpha about 1.5: two third-party implementations of the decoding; optimisation as in the Leak@k study",
    reading="The student begins as the model itself and is taught on the answers of both sets, each token after the true ones",
    rows=("61x",),
    tags=REMOVAL | {"forget", "retain"},
    params={"alpha": 1.5},
    note="--auxiliary clean=MODEL that never saw the forget set and dirty=MODEL that did, of the same vocabulary: what --guard dd "
    "takes.",
)

method(
    "delta",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    beside="large",
    needs=("auxiliary large",),
    summary="A small model learns what to add to the logits of a large one that stays closed.",
    paper="delta-Unlearning: Huang et al. 2024, arXiv 2404.11045",
    formula="any loss on p = softmax(z_large + alpha (z - z_ref)), z the small model that is trained and z_ref the same before",
    source="the paper: alpha 1; optimisation as in the Leak@k study",
    reading="The losses are ascent or NPO with NLL or KL; NPO's reference is the large model",
    rows=("60",),
    tags=REMOVAL | {"forget", "retain"},
    params={"alpha": 1.0, "base": "ga", "keep": "nll", "beta": 0.1},
    note="--auxiliary large=MODEL, of the same vocabulary. What comes out is the small model; audit the pair with --guard offset, tuned the small model and before the same as it was. Checks see the small "
    "model alone: give it steps, no stop rule.",
)
