"""Merging methods: arithmetic on the weights of several models."""

from leakatk.unlearning.edits import extrapolate
from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import method
from leakatk.unlearning.methods.published import REMOVAL
from leakatk.unlearning.stages import Edit, Term, Train

method(
    "task-vector",
    Train((Term(loss.nll, "forget"),)),
    Edit(extrapolate(factor=lambda p: -p["alpha"])),
    summary="Train towards the forget set, then go the same way back from the start.",
    paper="Ilharco et al. 2023, arXiv 2212.04089",
    formula="theta = theta_0 - alpha (theta_F - theta_0), theta_F trained towards the forget set",
    source="the paper: negated task vector, alpha chosen by a sweep; optimisation as in the Leak@k study",
    tags=REMOVAL | {"forget"},
    params={"alpha": 1.0},
    note="Checks see the trained weights, before the step back: give it steps, no stop rule.",
)
