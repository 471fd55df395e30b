"""Methods that first find which forget prompts matter: by concepts, or by what unlearning them is worth."""

from leakatk.unlearning.concepts import inferred, poisoned
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import KEEP, REMOVAL
from leakatk.unlearning.stages import Term
from leakatk.unlearning.worth import worth, worth_forgetting

method(
    "concept-poison",
    Term(poisoned, ("random_1", "no_idea")),
    KEEP,
    gather=inferred,
    summary="Other answers for the forget prompts that carry the concepts by which they are told from the rest.",
    paper="Chang et al. 2024, arXiv 2405.15662",
    formula="F = E<-log p(y'_t)> over forget prompts with a concept of largest integrated gradient, where it is there, of sigma(w c + b), c = projections of mean states on "
    "concept vectors, w with few entries; y' another prompt's answer, or with label=target a fixed refusal",
    source="the paper's summary; its numbers are not known here, so 200 words, 50 concepts, sparsity .003 and the optimisation of the Leak@k study",
    reading="Text's analogue: the class is the forget set, a concept a word that several prompts share, its vector a ridge regression on mean states, and the "
    "label an answer. A prompt without a concept is not trained on",
    rows=("115",),
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": -1, "bank": 200, "concepts": 50, "sparsity": 0.003, "label": "random"},
    note="A note of the run names the concepts, and counts the prompts that carry none. On a demo's world (20 people): greedy 0, leak@32 "
    ".04, people not shown .79.",
)

method(
    "u2a",
    Term(worth_forgetting, "forget"),
    KEEP,
    gather=worth,
    summary="NPO or ascent in which a forget prompt weighs as much as unlearning it is worth to an outer objective.",
    paper="U2A: Feng et al. 2025, arXiv 2504.06659",
    formula="F = E w_i F_i; w by mirror ascent on the simplex, w_i <- w_i exp(eta s_i) / Z, s_i = -<grad J(theta(w)), grad L_i>, "
    "J = -NLL(retain) + outer_leak NLL(forget)",
    source="the paper's reviews: first order, H ~ c I, weights on the simplex; the numbers are ours; optimisation as in the Leak@k study",
    reading="The outer objective there is an expected reward; here what is kept and what is forgotten. theta(w) is one step of a fixed length. keep=1 "
    "weighs all prompts, where the paper picks a few: what is dropped here stays known",
    rows=("116",),
    tags=REMOVAL | {"forget", "retain"},
    params={
        "base": "npo", "beta": 0.1, "outer_leak": 1.0, "outer_rounds": 3, "reach": 0.01, "mirror_rate": 1.0, "keep": 1.0,
    },
    note="Before the first step it takes a backward pass of each forget prompt in each of outer_rounds rounds. On a demo's world (20 "
    "people) weights lie between .32 and 9.2: greedy 0, leak@32 0, people not shown .58.",
)  # fmt: skip
