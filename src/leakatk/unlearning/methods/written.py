"""Methods that learn written text: wrong answers, with or without a reason, in place of the true ones."""

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import KEEP, REMOVAL
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Term

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
    "preset has one; retain_weight above 0 adds it elsewhere.",
)
