"""Grafted last layers: those of the original put back, to see whether the last layers alone have changed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from leakatk.attacks.activations import same_shape
from leakatk.attacks.base import Alter, at_least, attack
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known
from leakatk.unlearning.passes import decoder_layers


@attack(
    "graft",
    summary="the original's last layers and output put in the place of the model's: did they alone change?",
    paper="head-only changes in Are We Truly Forgetting",
    formula="theta_u with the last n decoder layers, the final norm and the output layer of theta_0",
    source="the question is the paper's; copying layers back and asking again is our way to answer it",
    rows=("30",),
    reading="a model that answers again changed in what was copied alone; what is copied knows how to answer, so a retrained model "
    "with it is the floor; n = 0 copies the norm and the output layer alone; an output layer that is tied to the embeddings stays",
    access="weights, with those of the original",
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack graft --original MODEL --out runs/attacked",
)
@dataclass(frozen=True)
class Graft(Alter):
    """layers: last decoder layers that are copied, beside the final norm and the output layer."""

    layers: int = 1

    def __post_init__(self) -> None:
        at_least(self, "layers", 0)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original")

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        original = same_shape(f"Attack {self.label}", loaded, known.original)
        mine, theirs = (last_parameters(model.model, self.layers) for model in (loaded, original))
        if mine.keys() != theirs.keys() or not mine:
            raise InputError(
                f"Attack {self.label} copies weights of one name, and those of {loaded.name} and {original.name} differ; merge adapters "
                "into their models first."
            )
        with torch.no_grad():
            for name, weight in mine.items():
                weight.copy_(theirs[name])


def last_parameters(model: nn.Module, count: int) -> dict[str, nn.Parameter]:
    """Name -> weight of the last layers, of the norm after them and of the output layer unless it is tied to the embeddings.

    InputError for more layers than there are.
    """
    layers = decoder_layers(model)
    if count > len(layers):
        raise InputError(f"The model has {len(layers)} layers; graft at most so many, not {count}.")
    inside = {id(one) for layer in layers[: len(layers) - count] for one in layer.parameters()}
    # An output layer tied to the embeddings is what the model reads with too.
    inside |= {id(one) for one in model.get_input_embeddings().parameters()}  # type: ignore[operator]
    return {name: one for name, one in model.named_parameters() if id(one) not in inside}
