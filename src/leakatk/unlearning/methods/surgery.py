"""Gradient-surgery methods: they say how the gradients of forgetting and keeping meet."""

from dataclasses import replace

from leakatk.unlearning.gradients import blur, normalised_difference
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, method
from leakatk.unlearning.methods.published import KEEP, OPEN_UNLEARNING, PER_TOKEN, REMOVAL
from leakatk.unlearning.stages import Term

method(
    "blur-npo",
    Term(loss.npo, "forget"),
    KEEP,
    combine=blur,
    summary="NPO in which the retain gradient gives up what conflicts with the forget gradient.",
    paper="BLUR: arXiv 2506.08164",
    formula="NPO's F; update gamma g_F + [g_R - (<g_R, g_F> / |g_F|^2) g_F]",
    source="the authors' code: beta .1, gamma 1, lr 2.5e-5",
    rows=("57",),
    tags=REMOVAL | {"forget", "retain"},
    params={"beta": 0.1, "gamma": 1.0},
    settings=replace(LEAKATK_STUDY, learning_rate=2.5e-5),
)

method(
    "ngdiff",
    Term(loss.ascent, "forget"),
    KEEP,
    combine=normalised_difference,
    summary="GradDiff with both gradients normalised.",
    paper="NGDiff: arXiv 2410.22086",
    formula="GradDiff's F; update g_F / |g_F| + g_R / |g_R|",
    source="the paper: both gradients normalised; optimisation as in the Leak@k study",
    rows=("76",),
    lacks="the automatic learning rate (AutoLR)",
    tags=REMOVAL | {"forget", "retain"},
)

method(
    "pdu",
    Term(loss.flat_logits, "forget"),
    Term(loss.held_below, "retain"),
    summary="Flat logits on forget answers under the constraint that the retain loss stays low.",
    paper="PDU: Entesari et al. 2025, arXiv 2506.05314",
    formula="F = E<(max_v z_v - mean_v z_v)^2>, positions=unshifted: <> after each y_t; "
    "R weighted by lambda <- max(0, lambda + eta (R - epsilon)) after warmup_steps",
    source=OPEN_UNLEARNING
    + ", its script for TOFU: lambda_0 100, eta 5, epsilon .3, five epochs before the dual weight "
    "moves (63 steps of 32 on forget10)" + PER_TOKEN,
    tags=REMOVAL | {"forget", "retain"},
    params={"lambda_0": 100.0, "eta": 5.0, "epsilon": 0.3, "warmup_steps": 63, "positions": "unshifted"},
    small={"lambda_0": 1.0, "eta": 1.0, "epsilon": 0.01, "warmup_steps": 20, "positions": "answer"},
    note="Its mask is not shifted: logits after each answer token are flattened, those that predict the first are not; "
    "positions=answer shifts it. Choose epsilon above the retain loss of the model before unlearning. The dual weight "
    "moves once a micro-batch, as there, but by the mean over processes, where each of theirs keeps its own. The log's "
    "retain loss includes that weight.",
)
