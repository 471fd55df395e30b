"""Schedule methods: they say which prompts are trained on, and when."""

from leakatk.unlearning.drawing.difficulty import easy_first
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import REMOVAL
from leakatk.unlearning.stages import Term

method(
    "cga",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    draw=easy_first,
    summary="Ascent on the forget answers, those first whose likelihood moves most when the weights are shaken.",
    paper="Curriculum gradient ascent (CGA): Feng et al. 2025, arXiv 2504.06658",
    formula="ascent or NPO; forget prompts drawn with probability MRD_i / sum MRD, MRD_i = |E_d sum_t (log p_t(theta) - log p_t(theta + d)) / log "
    "p_t(theta)|, d ~ N(0, noise^2 I), measured anew every mrd_every epochs",
    source="the paper: probabilities of MRD, easy before hard, ascent without a retain term; noise .01, 8 draws and one epoch are ours, "
    "optimisation as in the Leak@k study",
    reading="Draws are independent of each other. The ratio is that of the metric `mrd`",
    rows=("63",),
    tags=REMOVAL | {"forget"},
    params={
        "noise": 0.01, "draws": 8, "mrd_every": 1.0, "base": "ga", "keep": "nll", "beta": 0.1, "retain_weight": 0.0,
    },
    small={"retain_weight": 1.0},
    note="base=npo, and keep=nll or kl with retain_weight above 0, are other losses under the same draws. A measurement costs 1 + draws passes "
    "over the forget set, without a backward pass.",
)  # fmt: skip
