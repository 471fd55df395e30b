"""Edits, weight arithmetic on models of one shape: what an `Edit` stage does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from leakatk.unlearning.work import Weights, Work

Params = Mapping[str, Any]


def extrapolate(factor: Callable[[Params], float]) -> Callable[[Work, Weights, Params], Weights]:
    """theta_0 + factor (theta - theta_0): -alpha negates a task vector, above 1 goes farther the same way.

    factor: a function of the method's numbers.
    """

    def edit(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
        share = factor(params)
        return {name: _towards(work.start[name].to(value), value, share) for name, value in now.items()}

    return edit


def _towards(origin: Tensor, value: Tensor, factor: float) -> Tensor:
    return origin + factor * (value - origin)
