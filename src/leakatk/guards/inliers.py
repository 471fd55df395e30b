"""Inliers: how much a prompt is like those of one request, by the states of the guarded model; no retain prompts are needed (O3)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from scipy.optimize import minimize
from scipy.stats import norm

from leakatk.errors import InputError
from leakatk.guards.base import Floats, Threshold
from leakatk.guards.requests import Learned, continued, requests_of
from leakatk.guards.watching import Watching
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

COSINE = 1000.0  # how much a cosine counts beside a Mahalanobis distance
STEEP, SHIFT = 10.0, 2.0
RIDGE = 0.1  # of a covariance, times the mean of its diagonal
NU = 0.1  # share of its own prompts that a request may leave out
MASKED = 0.3  # share of the tokens that a masked prompt lacks
TEMPERATURE = 0.05
_LEAST = 1e-6


@dataclass(frozen=True)
class Inlier:
    """What tells the prompts of one request from all others; L layers, d entries of a state, m prompts, c of them in the bank.

    maps (2, L, d, r): I + left right' is put on the states of a layer.  bank (L, c, d): unit vectors.  middle (L, d), inverse
    (L, d, d): mean and inverse covariance of the bank's states.  direction (L,), offset (1,): of the one-class machine.
    normal (2, 2): mean and deviation of its values, on the bank and on the prompts held out.
    """

    maps: Floats
    bank: Floats
    middle: Floats
    inverse: Floats
    direction: Floats
    offset: Floats
    normal: Floats

    @property
    def parts(self) -> tuple[Floats, ...]:
        """All arrays, in the order of the fields."""
        return tuple(getattr(self, one.name) for one in dataclasses.fields(self))

    def by_layer(self, states: Floats) -> Floats:
        """(m, L) of states (m, L, d): cosine to the nearest prompt in the bank less half the Mahalanobis distance over `COSINE`."""
        moved = mapped(states, self.maps)
        near = np.einsum("mld,lcd->mlc", unit(moved), self.bank).max(axis=2)
        away = moved - self.middle
        found: Floats = near - 0.5 * np.einsum("mld,lde,mle->ml", away, self.inverse, away) / COSINE
        return found

    def value(self, states: Floats) -> Floats:
        """(m,) of the one-class machine: above 0 within the request."""
        found: Floats = self.by_layer(states) @ self.direction - self.offset[0]
        return found

    def weight(self, states: Floats) -> Floats:
        """(m,) from `sigmoid(-2)`, unlike the request, to `sigmoid(8)`, in its midst."""
        return weights(self.value(states), self.normal)


def weights(values: Floats, normal: Floats) -> Floats:
    """w = sigmoid(10 (1 - |F(s) - F(2 s0 - s)|) - 2) of s (m,); F is that of both normal laws in equal parts, s0 its mean."""
    centre = normal[:, 0].mean()

    def share(at: Floats) -> Floats:
        found: Floats = np.mean([norm.cdf(at, mean, spread) for mean, spread in normal], axis=0)
        return found

    apart = np.abs(share(values) - share(2 * centre - values))
    found: Floats = 1 / (1 + np.exp(-(STEEP * (1 - apart) - SHIFT)))
    return found


def mapped(states: Floats, maps: Floats) -> Floats:
    """States (m, L, d) under I + left right' of their layer."""
    left, right = maps
    found: Floats = states + np.einsum("mld,ldr,ler->mle", states, right, left)
    return found


def unit(rows: Floats) -> Floats:
    """Unit vectors along the last axis."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    found: Floats = rows / np.where(length > 0, length, 1.0)
    return found


def one_class(points: Floats, nu: float) -> tuple[Floats, float]:
    """(w, rho) of a linear one-class support vector machine (Schoelkopf et al. 2001) on points (m, L).

    Minimises |w|^2 / 2 - rho + sum max(0, rho - w x) / (nu m), by its dual.
    """
    count = len(points)
    most = 1 / (max(nu, 1 / count) * count)
    gram = points @ points.T
    scale = max(float(np.abs(gram).max()), _LEAST)
    found = minimize(
        lambda a: 0.5 * a @ gram @ a / scale,
        np.full(count, 1 / count),
        jac=lambda a: gram @ a / scale,
        bounds=[(0, most)] * count,
        constraints={"type": "eq", "fun": lambda a: a.sum() - 1, "jac": lambda a: np.ones_like(a)},
        method="SLSQP",
        options={"maxiter": 300, "ftol": 1e-12},
    ).x
    direction: Floats = found @ points
    values = points @ direction
    free = (found > 1e-6 * most) & (found < (1 - 1e-6) * most)
    return direction, float(values[free].mean() if free.any() else np.quantile(values, nu, method="lower"))


def trained_maps(masked: Floats, clean: Floats, *, rank: int, steps: int, rate: float, seed: int) -> Floats:
    """(2, L, d, rank) left and right of each layer's map, such that a masked prompt is like one clean prompt and unlike the others.

    masked (k, m, L, d): states of k masked versions of each prompt; clean (m, L, d).  Lowers, summed over layers, the mean entropy
    of the rows of softmax(z_masked z_clean' / temperature), z unit vectors; those of clean prompts stay as they are.
    """
    import torch

    count, size = clean.shape[1:]
    draw = np.random.default_rng(seed)
    left = torch.zeros(count, size, rank, dtype=torch.float64, requires_grad=True)
    right = torch.as_tensor(draw.normal(size=(count, size, rank)) / size**0.5).requires_grad_()
    rows, fixed = torch.as_tensor(masked), torch.as_tensor(unit(clean))
    optimiser = torch.optim.Adam([left, right], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            moved = rows + torch.einsum("kmld,ldr,ler->kmle", rows, right, left)
            z = torch.nn.functional.normalize(moved, dim=-1)
            log_p = (torch.einsum("kmld,nld->klmn", z, fixed) / TEMPERATURE).log_softmax(-1)
            loss = -(log_p.exp() * log_p).sum(-1).mean((0, 2)).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return np.stack([left.detach().numpy(), right.detach().numpy()])


def inlier(bank: Floats, held: Floats, maps: Floats) -> Inlier:
    """Fitted on the states of a request: those stored (c, L, d) and those held out (h, L, d)."""
    moved = mapped(bank, maps)
    middle = moved.mean(axis=0)
    away = moved - middle
    cover = np.einsum("cld,cle->lde", away, away) / len(bank)
    size = cover.shape[-1]
    level = np.maximum(np.trace(cover, axis1=1, axis2=2) / size, _LEAST)
    inverse = np.linalg.inv(cover + RIDGE * level[:, None, None] * np.eye(size))
    nothing = np.zeros(0)
    made = Inlier(maps, np.swapaxes(unit(moved), 0, 1), middle, inverse, nothing, nothing, nothing)
    direction, offset = one_class(made.by_layer(bank), NU)
    made = replace(made, direction=direction, offset=np.array([offset]))
    values = [made.value(one) for one in (bank, held)]
    # A few prompts may all be alike: they are taken to spread at least a tenth as far as the two means are apart.
    least = max(0.1 * abs(float(values[0].mean() - values[1].mean())), _LEAST)
    return replace(made, normal=np.array([[one.mean(), max(one.std(), least)] for one in values]))


@dataclass(frozen=True)
class Requests(Watching):
    """The largest weight of a prompt over the requests, each of which knows its own prompts alone.

    Every second prompt of a request is stored, the others are held out; a request of one prompt does both with it.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    threshold: float = 0.2
    requests: int = 1
    """Requests that the forget prompts came in, of nearly equal size, in order; 0: one a source (person, document)."""
    share: float = dataclasses.field(default=0.95, repr=False)
    map_rank: int = 8
    """Of the map of each layer's states."""
    map_steps: int = 60
    """Training steps of the maps; 0 leaves the states as they are."""
    detect_seed: int = 0
    """Draws masks and first maps."""
    hashes: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """Of the prompts of each request that it knows."""
    learned: tuple[Learned, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """What it knows of each: the fields of `Inlier`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.requests < 0 or self.map_rank < 1 or self.map_steps < 0:
            raise InputError("requests and map_steps are at least 0, and map_rank at least 1.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """Requests that it knows already, being the first ones, are taken as they are."""
        known.need("A detector of requests", *self.needs)
        made = replace(self, inside=loaded)
        made._model  # noqa: B018  # an error where there is none
        requests = requests_of(known.forget, self.requests)
        hashes, learned = continued(self.hashes, self.learned, requests, lambda prompts, _: made._learn(prompts))
        return Threshold.fitted(replace(made, hashes=hashes, learned=learned), known, known.retain)

    def _learn(self, prompts: Sequence[Prompt]) -> Learned:
        stored, held = prompts[::2], prompts[1::2] or prompts
        clean = self._states(self._ids(stored))
        maps = np.zeros((2, *clean.shape[1:], self.map_rank))
        if self.map_steps:
            draw = np.random.default_rng(self.detect_seed)
            masked = np.stack([self._states([_masked(ids, draw) for ids in self._ids(stored)]) for _ in range(4)])
            maps = trained_maps(
                masked, clean, rank=self.map_rank, steps=self.map_steps, rate=0.01, seed=self.detect_seed
            )
        return inlier(clean, self._states(self._ids(held)), maps).parts

    def _states(self, texts: Sequence[Sequence[int]]) -> Floats:
        """(m, L, d) mean over the tokens of the states after each layer."""
        from leakatk.models.layers import decoder_layers, states_of

        places = [(layer, "block") for layer in range(len(decoder_layers(self._model.model)))]
        found = states_of(self._model, texts, places)
        return np.stack([np.stack([one.double().mean(0).numpy() for one in layer]) for layer in found], axis=1)

    def weights(self, prompts: Sequence[Prompt]) -> Floats:
        """(m, requests) of each prompt under each request."""
        if not prompts:
            return np.zeros((0, len(self.learned)))
        states = self._states(self._ids(prompts))
        return np.stack([Inlier(*parts).weight(states) for parts in self.learned], axis=1)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        found: Floats = self.weights(prompts).max(axis=1, initial=0.0)
        return found


def _masked(ids: Sequence[int], draw: np.random.Generator) -> list[int]:
    """Without some of the tokens; the first is kept."""
    kept = draw.random(len(ids)) >= MASKED
    return [token for place, token in enumerate(ids) if place == 0 or kept[place]]
