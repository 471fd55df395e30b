"""Logit combinations of guards: those of the model, moved by two small models of which one has seen what is to be forgotten."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.guards.base import Action


@dataclass(frozen=True)
class Difference(Action):
    """z + alpha (z_clean - z_dirty).  clean: a model that never saw what is to be forgotten; dirty: one that did."""

    models: ClassVar[tuple[str, ...]] = ("clean", "dirty")

    alpha: float = 1.0
    """How far the logits are moved; 0 is the model as it is."""
    plausible: float = 0.0
    """Tokens less than this times as probable to the model as its best one are never said; 0 is off."""

    def __post_init__(self) -> None:
        if not 0 <= self.plausible <= 1 or not math.isfinite(self.alpha):
            raise InputError(
                f"alpha must be a finite number and plausible between 0 and 1, got {self.alpha} and {self.plausible}."
            )

    def combine(self, z: Tensor, clean: Tensor, dirty: Tensor) -> Tensor:
        moved = z + self.alpha * (clean.log_softmax(dim=-1) - dirty.log_softmax(dim=-1))
        if self.plausible:
            least = z.amax(dim=-1, keepdim=True) + math.log(self.plausible)
            moved = moved.masked_fill(z < least, -torch.inf)
        return moved


@dataclass(frozen=True)
class Rank(Action):
    """The tokens that the dirty model prefers most over the clean one are not said.

    The `top` tokens with the largest z_dirty - z_clean get -inf. With `finite`, they get the top-th largest of the model's own
    logits where theirs is larger, so that no probability is 0.
    """

    models: ClassVar[tuple[str, ...]] = ("clean", "dirty")

    top: int = 20
    """How many tokens are lowered at each step."""
    finite: bool = False
    """Lower them to the model's top-th largest logit instead of to -inf."""

    def __post_init__(self) -> None:
        if self.top < 1:
            raise InputError(f"top is a number of tokens, at least 1, got {self.top}.")

    def combine(self, z: Tensor, clean: Tensor, dirty: Tensor) -> Tensor:
        if self.top >= z.shape[-1]:
            raise InputError(f"top = {self.top} would lower all {z.shape[-1]} tokens; choose fewer.")
        chosen = (dirty.log_softmax(dim=-1) - clean.log_softmax(dim=-1)).topk(self.top, dim=-1).indices
        if self.finite:
            bound = z.topk(self.top, dim=-1).values[..., -1:]
            low = torch.minimum(z.gather(-1, chosen), bound)
        else:
            low = torch.full_like(chosen, -torch.inf, dtype=z.dtype)
        return z.scatter(-1, chosen, low)
