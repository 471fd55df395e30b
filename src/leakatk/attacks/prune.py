"""Pruning: the smallest weights set to zero, as a model is made smaller for use."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leakatk.attacks.base import Alter, Cost, attack, one_of
from leakatk.attacks.quantise import linear_weights
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known


@attack(
    "prune",
    summary="the smallest weights set to zero, of each layer or of the whole model",
    paper="magnitude pruning, Han et al. 2015, arXiv 1506.02626",
    formula="w <- 0 for the floor(share * n) smallest |w| of the n weights of a layer, or of all layers together",
    source="the share is ours; it is to be swept",
    access="weights, or a pruned copy of the model",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Prune(Alter):
    """share: of the weights of linear layers.  within: layer (the same share of each) or model (the smallest of all).

    Embeddings, norms, biases, the output layer and adapters stay as they are. Of equal weights the first ones go.
    """

    share: float = 0.3
    within: str = "layer"

    def __post_init__(self) -> None:
        one_of(self, "within", ("layer", "model"))
        if not 0 < self.share < 1:
            raise InputError(f"Attack option prune:share must be above 0 and below 1, got {self.share}.")

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        return Cost()  # it reads no text

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        weights = [weight for weight, _ in linear_weights(loaded.model)]
        if not weights:
            raise InputError(f"{type(loaded.model).__name__} has no linear layers that {self.label} can prune.")
        with torch.no_grad():
            for group in [[weight] for weight in weights] if self.within == "layer" else [weights]:
                for weight, mask in zip(group, smallest(group, self.share), strict=True):
                    weight[mask] = 0

    def notes(self, loaded: LoadedModel) -> list[str]:
        sizes = [weight.numel() for weight, _ in linear_weights(loaded.model)]
        count = sum(int(self.share * size) for size in (sizes if self.within == "layer" else [sum(sizes)]))
        total = sum(parameter.numel() for parameter in loaded.model.parameters())
        return [f"{count:,} of {total:,} weights are set to zero, {self.share:.0%} of those in linear layers."]


def smallest(weights: list[Tensor], share: float) -> list[Tensor]:
    """Masks of the floor(share * n) entries of the smallest absolute value among the n of all tensors; of equal ones the first."""
    sizes = torch.cat([weight.detach().abs().flatten().float().cpu() for weight in weights])
    mask = torch.zeros(sizes.numel(), dtype=torch.bool)
    count = int(share * sizes.numel())
    if count:
        limit = torch.kthvalue(sizes, count).values
        mask = sizes < limit
        equal = (sizes == limit).nonzero()[:, 0]
        mask[equal[: count - int(mask.sum())]] = True
    parts = torch.split(mask, [weight.numel() for weight in weights])
    return [part.view(weight.shape).to(weight.device) for part, weight in zip(parts, weights, strict=True)]
