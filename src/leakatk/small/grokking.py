"""Grokked unlearning: the same unlearning from a network that has memorised and from the same network once it generalises.

A small network learns a + b mod m from a part of all pairs. With weight decay it says the other pairs long after it has the trained ones by heart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from leakatk.errors import InputError

State = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class GrokSettings:
    """Sizes and steps; the defaults take about a minute a seed on one core."""

    modulus: int = 31
    """m: there are m^2 pairs."""
    share: float = 0.6
    """Of all pairs, those that are trained."""
    forget: int = 20
    """Trained pairs that are to be forgotten."""
    width: int = 64
    """Of the embedding of a number; the hidden layer has twice as many."""
    rate: float = 3e-3
    """Of AdamW, in whole batches, in training."""
    decay: float = 1.0
    """Weight decay in training."""
    steps: int = 6000
    """Of training, at most."""
    every: int = 50
    """Steps between checks in training."""
    grokked: float = 0.95
    """Share of the pairs that are not trained from which on the network counts as generalising."""
    unlearn_rate: float = 3e-4
    """Of AdamW without decay, in whole batches, in unlearning."""
    unlearn_steps: int = 400
    """Of unlearning, at most."""
    target: float = 0.05
    """Unlearning ends where at most this share of the forget pairs is said."""

    def __post_init__(self) -> None:
        trained = int(self.share * self.modulus**2)
        if self.modulus < 2 or not 0 < self.share < 1 or not 0 < self.forget < trained:
            raise InputError(
                f"Grokking needs a modulus of at least 2, a share between 0 and 1 and fewer pairs to forget than are trained; got {self.modulus}, "
                f"{self.share} and {self.forget}."
            )
        if min(self.steps, self.every, self.unlearn_steps, self.width) < 1:
            raise InputError("steps, every, unlearn_steps and width must be at least 1.")


class Adder(nn.Module):
    """Logits (n, m) of the sum, of pairs (n, 2) of numbers."""

    def __init__(self, settings: GrokSettings) -> None:
        super().__init__()
        self.embedding = nn.Embedding(settings.modulus, settings.width)
        self.hidden = nn.Linear(2 * settings.width, 2 * settings.width)
        self.output = nn.Linear(2 * settings.width, settings.modulus, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        found: Tensor = self.output(torch.relu(self.hidden(self.embedding(pairs).flatten(1))))
        return found


@dataclass(frozen=True)
class Pairs:
    """Pairs (n, 2) by the part they play."""

    forget: Tensor
    retain: Tensor
    unseen: Tensor
    modulus: int

    def sums(self, pairs: Tensor) -> Tensor:
        return pairs.sum(1) % self.modulus


def pairs_of(settings: GrokSettings, seed: int) -> Pairs:
    """All pairs, shuffled by the seed."""
    numbers = torch.arange(settings.modulus)
    every = torch.cartesian_prod(numbers, numbers)
    every = every[torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))]
    trained = int(settings.share * len(every))
    return Pairs(every[: settings.forget], every[settings.forget : trained], every[trained:], settings.modulus)


def says(model: Adder, pairs: Pairs, which: Tensor) -> float:
    """The share of pairs whose sum is likeliest."""
    with torch.no_grad():
        return float((model(which).argmax(1) == pairs.sums(which)).float().mean())


def trained(settings: GrokSettings, pairs: Pairs, seed: int) -> dict[str, tuple[int, State]]:
    """ "memorised": (step, weights) when all trained pairs are said for the first time at a check; "grokked": when enough of the others are.

    What does not come within `steps` is not there.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Adder(settings)
    known = torch.cat([pairs.forget, pairs.retain])
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=settings.decay, betas=(0.9, 0.98))
    found: dict[str, tuple[int, State]] = {}
    for step in range(1, settings.steps + 1):
        optimiser.zero_grad()
        torch.autograd.backward(cross_entropy(model(known), pairs.sums(known)))
        optimiser.step()
        if step % settings.every == 0:
            state = {name: value.detach().clone() for name, value in model.state_dict().items()}
            if "memorised" not in found and says(model, pairs, known) == 1.0:
                found["memorised"] = step, state
            if "memorised" in found and says(model, pairs, pairs.unseen) >= settings.grokked:
                return {**found, "grokked": (step, state)}
    return found


@dataclass(frozen=True, slots=True)
class Forgot:
    """One network: `at` the step of its training; before and after unlearning the shares that it says; NaN where there is no such network."""

    seed: int
    which: str
    at: float
    steps: float
    """Of unlearning; infinite where the target was not reached."""
    cosine: float
    """Between the gradients of the loss on forget and on retain pairs, before the first step."""
    retain: tuple[float, float]
    unseen: tuple[float, float]


def forgotten(
    settings: GrokSettings, pairs: Pairs, state: State, *, seed: int = 0, which: str = "", at: int = 0
) -> Forgot:
    """Gradient difference, NLL(retain) - NLL(forget), from these weights until at most `target` of the forget pairs are said."""
    model = Adder(settings)
    model.load_state_dict(dict(state))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.unlearn_rate, weight_decay=0.0)

    def loss(side: Tensor) -> Tensor:
        return cross_entropy(model(side), pairs.sums(side))

    gradients = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss(side), list(model.parameters()))]).double()
        for side in (pairs.forget, pairs.retain)
    ]
    cosine = float(torch.nn.functional.cosine_similarity(gradients[0], gradients[1], dim=0))
    before = says(model, pairs, pairs.retain), says(model, pairs, pairs.unseen)
    steps = 0
    while says(model, pairs, pairs.forget) > settings.target and steps < settings.unlearn_steps:
        optimiser.zero_grad()
        torch.autograd.backward(loss(pairs.retain) - loss(pairs.forget))
        optimiser.step()
        steps += 1
    reached = says(model, pairs, pairs.forget) <= settings.target
    after = says(model, pairs, pairs.retain), says(model, pairs, pairs.unseen)
    return Forgot(seed, which, at, steps if reached else math.inf, cosine, (before[0], after[0]), (before[1], after[1]))


def compare(seeds: int = 3, settings: GrokSettings | None = None) -> list[Forgot]:
    """Both networks of each seed after the same unlearning; one that did not come about has NaN."""
    settings, rows = settings or GrokSettings(), []
    for seed in range(seeds):
        pairs = pairs_of(settings, seed)
        networks = trained(settings, pairs, seed)
        for which in ("memorised", "grokked"):
            if which in networks:
                at, state = networks[which]
                rows.append(forgotten(settings, pairs, state, seed=seed, which=which, at=at))
            else:
                rows.append(
                    Forgot(seed, which, math.nan, math.nan, math.nan, (math.nan, math.nan), (math.nan, math.nan))
                )
    return rows


def table(rows: Sequence[Forgot]) -> str:
    """Means and standard deviations over the seeds, a line a network; where a seed lacks a number, how many have it."""
    lines = [
        f"{'network':<10} {'trained':>12} {'steps':>14} {'cos(g_f, g_r)':>14} {'retain lost':>14} {'unseen lost':>14}"
    ]
    for which in dict.fromkeys(row.which for row in rows):
        mine = [row for row in rows if row.which == which]
        columns = (
            [row.at for row in mine], [row.steps for row in mine], [row.cosine for row in mine],
            [row.retain[0] - row.retain[1] for row in mine], [row.unseen[0] - row.unseen[1] for row in mine],
        )  # fmt: skip
        cells = []
        for values in columns:
            there = [value for value in values if math.isfinite(value)]
            words = f"{np.mean(there):.4g} ±{np.std(there):.2g}" if there else "none"
            cells.append(words + (f" ({len(there)}/{len(values)})" if len(there) < len(values) else ""))
        lines.append(f"{which:<10} {cells[0]:>12} {cells[1]:>14} {cells[2]:>14} {cells[3]:>14} {cells[4]:>14}")
    return "\n".join(lines)
