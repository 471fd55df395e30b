"""Representation methods: they move hidden states."""

from dataclasses import replace

from leakatk.unlearning.losses import terms as loss
from leakatk.unlearning.method import SMALL, method
from leakatk.unlearning.methods.published import REMOVAL, STUDY
from leakatk.unlearning.stages import Term

method(
    "rmu",
    Term(loss.to_random_direction, "forget"),
    Term(loss.to_reference_states, "retain"),
    summary="Hidden states of forget answers go to a fixed random direction, those of retain answers stay.",
    paper="Li et al. 2024 (WMDP), arXiv 2403.03218",
    formula="F = E |h(x, y) - coefficient * u|^2, u a fixed random unit vector; R = E |h - h_ref|^2; h: hidden states after `layer`",
    source=STUDY,
    tags=REMOVAL | {"forget", "retain"},
    params={"layer": 15, "coefficient": 100.0, "positions": "answer"},
    small={"layer": 1, "coefficient": 6.0},
    small_settings=replace(SMALL, learning_rate=1e-3),
    note="Trains every parameter, as open-unlearning does; the paper trains the MLP output projections of three "
    "layers: settings.parameters = selection.mlp_down(layer). Each answer's sum is divided by its own length; "
    "open-unlearning multiplies the mean sum by the mean of 1/length, which differs where lengths do.",
)
