"""Distillation methods, which learn from another distribution: the reference's, a changed one, or the uniform one."""

from dataclasses import replace

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, method
from leakatk.unlearning.methods.published import FIVE_EPOCHS, KEEP, OPEN_UNLEARNING, PER_TOKEN, REMOVAL, TOFU
from leakatk.unlearning.stages import Term

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
    summary="Self-distillation towards the own logits with the true token's lowered.",
    paper="UNDIAL: Dong et al. 2024, arXiv 2402.10052",
    formula="F = cross entropy to softmax(z_ref - strength * onehot(y_t)), E<...>; positions=all: also to softmax(z_ref) on x",
    source=OPEN_UNLEARNING + ": strength 10, no retain term, lr 1e-4, 10 epochs" + PER_TOKEN,
    rows=("9",),
    lacks="the form that distils names and nouns alone",
    tags=REMOVAL | {"forget"},
    params={"strength": 10.0, "retain_weight": 0.0, "positions": "all"},
    small={"positions": "answer"},
    settings=replace(LEAKATK_STUDY, learning_rate=1e-4),
    note="After question tokens the target is the reference itself, as in open-unlearning, which there lowers the logit of "
    "token V-100 by its mark for no label. Its mean counts padding too; ours does not. retain_weight above 0 adds the "
    "retain loss; its sweep tries 1, 2 and 5.",
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
