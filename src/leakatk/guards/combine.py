"""Logit combinations of guards: those of the model, moved by two small models of which one has seen what is to be forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.guards.base import Action

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True, kw_only=True)
class Pinning(Action):
    """A combination that may leave special tokens as they are: those of the tokenizer, and all that end an answer."""

    pin: bool = False
    """Special tokens keep the model's own logits."""
    special: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """Ids of the tokens that are left alone; set by `joining`."""

    def joining(self, loaded: LoadedModel) -> tuple[list[LoadedModel], Callable[..., Tensor]]:
        found = sorted({*loaded.tokenizer.all_special_ids, *loaded.end_ids}) if self.pin else ()
        combine: Callable[..., Tensor] = replace(self, special=tuple(found)).combine  # type: ignore[attr-defined]
        return [], combine

    def _pinned(self, combined: Tensor, z: Tensor) -> Tensor:
        """(..., V) combined, with the special tokens of z."""
        if not self.special:
            return combined
        places = torch.tensor([i for i in self.special if i < z.shape[-1]], device=z.device)
        return combined.index_copy(-1, places, z[..., places])


@dataclass(frozen=True)
class Difference(Pinning):
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
        return self._pinned(moved, z)


@dataclass(frozen=True)
class Offset(Difference):
    """z + alpha (z_tuned - z_before).  before: a small model as it was; tuned: what the method `delta` made of it."""

    models: ClassVar[tuple[str, ...]] = ("tuned", "before")


@dataclass(frozen=True)
class Rank(Pinning):
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
        lead = self._pinned(dirty.log_softmax(dim=-1) - clean.log_softmax(dim=-1), torch.full_like(z, -torch.inf))
        chosen = lead.topk(self.top, dim=-1).indices
        if self.finite:
            bound = z.topk(self.top, dim=-1).values[..., -1:]
            low = torch.minimum(z.gather(-1, chosen), bound)
        else:
            low = torch.full_like(chosen, -torch.inf, dtype=z.dtype)
        return self._pinned(z.scatter(-1, chosen, low), z)
