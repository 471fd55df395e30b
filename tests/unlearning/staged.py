"""A method of three stages that the tests of stages and of their boundaries share."""

import torch

from leakatk.unlearning.edits import extrapolate
from leakatk.unlearning.losses import distill, terms
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Edit, Keep, Term, Train

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=4, retain_batch=4)
TOWARDS = Train((Term(terms.nll, "forget"),))
KEEP = Term(terms.nll, "retain")


def away(view, p):
    """Who's Harry Potter's loss, from its formula."""
    base, other = view.reference.logits, view.under("reinforced").logits
    return distill.cross_entropy_to(base - torch.relu(other - base), view.logits, view.labels, view.mean)


THREE = Method(
    name="three",
    stages=(
        TOWARDS,
        Keep("reinforced", back=True),
        Train((Term(away, "forget"), KEEP)),
        Edit(extrapolate(factor=lambda p: 0.5)),
        Train((Term(terms.npo, "forget"), KEEP), {"max_steps": 2}),
    ),
    params={"beta": 0.5},
)
