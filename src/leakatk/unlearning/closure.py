"""Closure: what an optimiser may ask during a step, for those that need more than one gradient.

An optimiser whose class has `asks = True` is called with one, as PyTorch's own L-BFGS is. It may move the parameters and ask
again: every answer is of the step's own batch, at the weights of the moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.gradients import Gradients, inner
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import SIDES, Term, Train
from leakatk.unlearning.step import Step


@dataclass
class Closure:
    """A step's questions, for optimisers over `parameters`. number: of the step, from 0; params: the method's numbers."""

    parameters: Sequence[nn.Parameter]
    params: Mapping[str, Any]
    number: int
    seed: int
    fill: Callable[[str, Any], dict[str, float]]
    """(side or "", another term or None) -> the losses by side, with their gradient left in the parameters."""
    value: Callable[[str], float]
    """A side's loss, "" for both, without a gradient."""
    losses: dict[str, float]
    """What is logged: the first loss of each side that was asked."""
    masks: Sequence[Tensor | None] = ()
    """Of each parameter, which of its entries are trained; None, or no masks at all: all of them."""

    def gradient(
        self, side: str = "", loss: Callable[..., Tensor] | None = None, on: str | tuple[str, ...] = ""
    ) -> Gradients:
        """The gradient of a side, times its weight; of the whole step for "". Zeros where a parameter has none.

        loss: taken in place of the method's own terms, on the streams `on`, by default that side's answers. What it asks of a teacher
        the method's own terms must ask too.
        """
        term = None if loss is None else Term(loss, on or side)
        for name, value in self.fill(side, term).items():
            if term is None:
                self.losses.setdefault(name, value)
        found = [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        return found

    def unit(self, seed: str) -> tuple[Gradients, int]:
        """A random direction of length 1 among the trained entries, a function of the seed alone; and how many entries these are."""
        generator = generator_of(seed)
        found, count = [], 0
        for parameter, mask in zip(self.parameters, self.masks or [None] * len(self.parameters), strict=True):
            drawn = torch.randn(parameter.shape, generator=generator).to(parameter)
            found.append(drawn if mask is None else drawn * mask)
            count += parameter.numel() if mask is None else int(mask.sum())
        length = float(inner(found, found).sqrt())
        return [one / length for one in found], count

    @contextmanager
    def moved(self, direction: Gradients, size: float) -> Iterator[None]:
        """Within the block the parameters are farther by size times direction; afterwards exactly where they were."""
        before = [parameter.detach().clone() for parameter in self.parameters]
        with torch.no_grad():
            for parameter, way in zip(self.parameters, direction, strict=True):
                parameter.add_(way, alpha=size)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, before, strict=True):
                    parameter.copy_(value)


class _Counting(Closure):
    """Answers with made-up numbers, and counts what was asked: a gradient of both sides as 1, a loss as a third of one."""

    asked = 0.0
    sides = 2

    def gradient(
        self, side: str = "", loss: Callable[..., Tensor] | None = None, on: str | tuple[str, ...] = ""
    ) -> Gradients:
        self.asked += 1 / self.sides if side else 1.0
        generator = generator_of(self.asked)
        return [torch.randn(one.shape, generator=generator) for one in self.parameters]


STEPS = 200  # that are counted: some ask more in every second or tenth, or change after fifty


def passes(stage: Train, params: Mapping[str, Any], settings: TrainSettings) -> float:
    """What a step of a stage's optimiser asks, in gradients of both sides: 1 for one that asks nothing; a mean over the first steps."""
    parameter = nn.Parameter(torch.ones(2))
    optimiser = stage.optimiser([parameter], settings) if stage.optimiser else None
    if not getattr(optimiser, "asks", False):
        return 1.0
    closure = _Counting([parameter], params, 0, 0, cast(Any, None), lambda side: 0.0, {})
    closure.sides = len(stage.sides)

    def value(side: str) -> float:
        closure.asked += (1 / closure.sides if side else 1.0) / 3
        return closure.asked % 1.0

    closure.value = value
    for closure.number in range(STEPS):
        cast(Any, optimiser).step(closure)
    return closure.asked / STEPS


class Asked(Protocol):
    """The part of the trainer that questions are answered from."""

    model: nn.Module
    stage: Train
    params: Mapping[str, Any]
    settings: TrainSettings
    seed: int
    masks: dict[str, Tensor]
    optimizer: torch.optim.Optimizer

    def parameters(self) -> dict[str, Tensor]: ...
    def fill(self, number: int, only: tuple[str, ...] | None = None, term: Term | None = None) -> dict[str, float]: ...
    def check(self, norm: float, number: int) -> None: ...
    def make_step(self, number: int, micro: int, model: nn.Module) -> Step: ...
    def losses(self, step: Step) -> dict[str, Tensor | None]: ...
    def average(self, value: Tensor) -> Tensor: ...


def asked(trainer: Asked, number: int) -> tuple[dict[str, float], float]:
    """A step of an optimiser that asks: the losses that it saw, NaN for a side that it did not look at, and the first gradient's
    norm.
    """
    norms: list[float] = []
    chance = torch.get_rng_state()  # dropout, where a model has it, is the same whenever it is asked
    there = trainer.parameters()
    mine = cast(Any, list(there.values()))

    def fill(side: str, term: Any) -> dict[str, float]:
        torch.set_rng_state(chance)
        found = trainer.fill(number, (side,) if side else None, term)
        norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in mine if p.grad is not None])))
        trainer.check(norms[-1], number)
        return {name: value for name, value in found.items() if not math.isnan(value)}

    @torch.no_grad()
    def value(side: str) -> float:
        torch.set_rng_state(chance)
        params, parts = trainer.params, trainer.settings.gradient_accumulation
        steps = [trainer.make_step(number, micro, trainer.model) for micro in range(parts)]
        losses = [trainer.losses(step) for step in steps]
        chosen = (side,) if side else trainer.stage.trained(params)
        terms = [params[f"{one}_weight"] * cast(Tensor, found[one]) for found in losses for one in chosen]
        return float(trainer.average(torch.stack(terms).sum() / parts))

    closure = Closure(
        mine, trainer.params, number, trainer.seed, fill, value, {}, [trainer.masks.get(n) for n in there]
    )
    cast(Any, trainer.optimizer).step(closure)
    return {**dict.fromkeys(SIDES, math.nan), **closure.losses}, norms[0] if norms else math.nan
