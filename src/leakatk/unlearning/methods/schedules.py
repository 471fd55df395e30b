"""Schedule methods: they say which prompts are trained on, when, and beside which others."""

from dataclasses import replace

from leakatk.unlearning import paired  # noqa: F401  (its streams)
from leakatk.unlearning.drawing.blocks import in_blocks
from leakatk.unlearning.drawing.difficulty import easy_first
from leakatk.unlearning.drawing.retrieved import retrieved
from leakatk.unlearning.drawing.until_gone import WORDS, until_gone
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import REMOVAL
from leakatk.unlearning.settings import TrainSettings
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
    note="What it guards against: --forget-as triggers puts harmless phrases into the request, and the probe `trigger` asks retain questions in them. "
    "On the small world that damage cannot be seen: before unlearning 4% of retain questions in such a phrase are answered (84 asked).",
)

method(
    "icu",
    Term(loss.ascent, "forget"),
    Term(loss.nll, "retain", weight="learn_weight"),
    Term(loss.cross_entropy_from_reference, "retain", weight="same_weight"),
    draw=until_gone,
    summary="Ascent on what is still said, epoch by epoch, beside likelihood of the retain prompt nearest to each forget prompt.",
    paper="Iterative contrastive unlearning (ICU): Tang et al. 2024, arXiv 2407.20271",
    formula="F = E<log p(y_t)>; R = learn_weight NLL(y_n) + same_weight E<-sum p_ref log p>, n the neighbour of each forget prompt drawn; after "
    "each epoch a pair is left out where F1 < f1, BLEU < bleu or distinct words < distinct",
    source="the authors' code: weights 1, .5 and 1, F1 .3, BLEU .01, distinct .25, Adam at 5e-6 with betas .9 and .98, batches of 8; there it runs "
    "until it stops, 40 epochs are ours",
    reading="F1 is ROUGE-L's, there BERTScore's; the nearest text is by words weighed by rarity, there by MiniLM: encoder=MODEL takes an encoder "
    "for both, and its cosine. Greedy answers, there two beams. BLEU of an answer below four words is of shorter runs. It ends when no pair is "
    "left; there fewer than ten, or --stop-memorised",
    rows=("69",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "learn_weight": 0.5, "same_weight": 1.0, "f1": 0.3, "bleu": 0.01, "distinct": 0.25, "encoder": WORDS,
    },
    settings=TrainSettings(
        learning_rate=5e-6, epochs=40, forget_batch=8, retain_batch=8, betas=(0.9, 0.98), weight_decay=0.0
    ),
    small={"f1": 0.9, "bleu": 0.6},
    small_settings=replace(SMALL, learning_rate=1e-4, weight_decay=0.0),
    note="Where answers share a form and differ in a word or two, raise f1 and bleu: on the small world, with the published ones, a pair is left "
    "out once its answer is broken text, and 21% of retain answers are right in the end; with f1 .9 and bleu .6 it is 89%.",
)  # fmt: skip

method(
    "melu",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    draw=in_blocks,
    summary="NPO entity by entity, each in a block of steps beside retain prompts of its own: near, less near, general.",
    paper="Modular entity-level unlearning (MELU): Bushipaka et al. 2025, arXiv 2509.05316",
    formula="NPO's or ascent's F, R = NLL or KL; an epoch is a block of steps for each entity, its retain draws in turn from the nearest, the middle "
    "and the farthest third of the retain set",
    source="the paper: the schedule, with any loss; batches of 4 are ours, NPO's numbers and the optimisation of the Leak@k study",
    reading="An entity is a prompt's source, or else its question's subject. Direct and indirect neighbours and general knowledge are thirds of "
    "the retain set by shared words, there sets of their own. Within a block prompts are shuffled",
    rows=("117",),
    tags=REMOVAL | {"forget", "retain"},
    params={"schedule": "modular", "base": "npo", "keep": "nll", "beta": 0.5},
    small={"beta": 0.1},
    settings=replace(LEAKATK_STUDY, forget_batch=4, retain_batch=4),
    small_settings=replace(SMALL, forget_batch=4, retain_batch=12),
    note="schedule=one-to-one and cyclic are what it is compared with. Take forget batches no larger than an entity's prompts, or these repeat.",
)

method(
    "raslik",
    Term(loss.chosen_forget, "forget"),
    Term(loss.chosen_retain, "retain"),
    draw=retrieved,
    summary="GradDiff on the forget prompts whose gradients most resemble those of what the model says, and the retain prompts that oppose them most.",
    paper="RASLIK: Liu et al. 2026, arXiv 2604.16591",
    formula="ascent or NPO, NLL or KL, on the `share` of forget prompts with the best average rank of <h(g_query), h(g_x)> and the `share` of retain "
    "prompts with the worst; h: signs, one permutation, sums in bins, length 1",
    source="the paper and the authors' code: the sketch of 65536 bins, average ranks over queries, the far end of the same list; share .5 is ours, "
    "optimisation as in the Leak@k study",
    reading="Queries are the model's greedy answers to the forget prompts. Retrieval is within each set, whose labels are known here; from an "
    "unlabelled corpus both sets come from leakatk.unlearning.drawing.retrieved.retrieve. Gradients are of decoder layers, there of adapters",
    rows=("68",),
    tags=REMOVAL | {"forget", "retain"},
    params={"share": 0.5, "bins": 65536, "layers": 0, "base": "ga", "keep": "nll", "beta": 0.1},
    small={"bins": 4096},
    note="One gradient of each prompt of both sets, one at a time, before the first step; five bytes a parameter of the decoder layers are held. On the "
    "small world the far half of the retain set protects less than the whole: 43% of retain answers are right in the end, with share 1 all of "
    "them; nothing is left of the forgotten either way.",
)
