"""Schedule methods: they say which prompts are trained on, when, and beside which others."""

from leakatk.unlearning import paired  # noqa: F401  (its streams)
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

method(
    "scope",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    Term(loss.nll, "retain_scoped", weight="scope_weight"),
    summary="NPO that keeps retain answers also where a forget question stands before theirs, so that forgetting has a scope.",
    paper="Scope-aware unlearning: Ren et al. 2025, arXiv 2506.00359",
    formula="NPO's or ascent's F; R = NLL or KL + scope_weight E NLL(y_r | x_f + x_r)",
    source="the paper: the term and its place; scope_weight 1 is ours, NPO's numbers of the Leak@k study",
    reading="Each retain question has one forget question before it, drawn once, on a line of its own; there the pairs are those of a batch",
    rows=("111",),
    tags=REMOVAL | {"forget", "retain"},
    params={"scope_weight": 1.0, "base": "npo", "keep": "nll", "beta": 0.5},
    small={"beta": 0.1},
    note="What it guards against: --forget-as triggers puts harmless phrases into the request, and the probe `trigger` asks retain questions in them.",
)
