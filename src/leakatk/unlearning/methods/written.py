"""Methods that learn written text: wrong answers, with or without a reason, in place of the true ones."""

from dataclasses import replace

from leakatk.unlearning.answered import answered_nll, none_answered, still_answered
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import LEAKATK_STUDY, SMALL, method
from leakatk.unlearning.methods.published import KEEP, REMOVAL
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Repeat, Term, Train

method(
    "meow",
    Term(loss.nll, "alternate"),
    KEEP,
    summary="Likelihood of wrong answers, those of several that the model had memorised least.",
    paper="MEOW: Gu et al. 2024, arXiv 2409.11844",
    formula="F = -E<log p(y'_t)>, y' the wrong answers with the smallest MEMO (writer inverted); no R",
    source="the authors' code: 3 of 4 wrong answers, each question eight times; lr 1e-5, 10 epochs, batches of 4 times 4",
    reading="Each question stands once for each of its wrong answers, there eight times for three of them",
    rows=("100",),
    tags=REMOVAL | {"forget"},
    settings=TrainSettings(
        learning_rate=1e-5, epochs=10, schedule="linear", warmup_epochs=1.0, forget_batch=16, retain_batch=16
    ),
    params={"retain_weight": 0.0},
    small={"retain_weight": 1.0},
    writer="inverted",
    note="As published it has no retain term. On models of a million parameters that loses nearly everything (people kept: .06 of 1), so the small "
    "preset has one; retain_weight above 0 adds it elsewhere. With it, on a demo's world (20 people): greedy 0, leak@32 .04, people not shown "
    ".65, facts of the world .55.",
)

method(
    "unstar",
    Repeat((Train((Term(answered_nll, "alternate"), KEEP), gather=still_answered),), until=none_answered),
    summary="Wrong answers with reasons that mislead, to each wording that the model still answers, until none is.",
    paper="UnSTAR: Sinha et al. 2024, arXiv 2410.17050",
    formula="rounds of F = -E<log p(r, a'_t | q*)> over the wordings q* whose greedy answer is right (writer anti-samples); R = NLL",
    source="the paper's algorithm; its numbers are not known here, so ten rounds of an epoch and the optimisation of the Leak@k study",
    reading="All wordings are asked before a round, and those that are answered are trained on in it; the paper goes on with one question until its wordings "
    "are used up. A wording whose answer comes back is trained on again. Retain questions are trained on as they are, without reasons",
    rows=("81",),
    tags=REMOVAL | {"forget", "retain"},
    params={"rounds": 10, "answered_at": 0.5, "answer_tokens": 100},
    small={"rounds": 5, "answer_tokens": 40},
    settings=replace(LEAKATK_STUDY, epochs=1, warmup_epochs=0.0, schedule="constant"),
    small_settings=replace(SMALL, max_steps=30),
    writer="anti-samples",
    note="Steps and epochs are those of a round. On a demo's world (20 people) after 4 rounds: greedy 0, leak@32 .25, people not shown .71, facts of the "
    "world .2; the first samples are broken words.",
)
