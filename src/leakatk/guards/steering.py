"""Actions inside the model: features of a sparse autoencoder are clamped, or neurons moved to where the retain set has them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from leakatk.arrays import Ints
from leakatk.errors import InputError
from leakatk.guards.base import Action, Detector, Floats
from leakatk.guards.watching import ActiveShare, autoencoder, whole_texts
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Clamp(Action):
    """Watched features become -clamp at every token where one of them is active; what the autoencoder leaves over stays.

    It acts on what an `ActiveShare` has found. The first token is left alone.
    """

    clamp: float = 500.0
    """What they become, with a minus before it."""
    layer: float = dataclasses.field(default=math.nan, repr=False, compare=False)
    weights: Mapping[str, Floats] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    chosen: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.clamp >= 0:
            raise InputError(f"clamp is at least 0, got {self.clamp}.")

    def beside(self, detector: Detector) -> Self:
        if not isinstance(detector, ActiveShare):
            if self.weights:  # it has features already
                return self
            raise InputError(
                f"Clamping acts on the features of an ActiveShare detector, not of {type(detector).__name__}."
            )
        return replace(self, layer=detector.layer, weights=detector.weights, chosen=detector.chosen)

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        import torch

        from leakatk.models.hooks import changed_states
        from leakatk.models.layers import layer_at, module_at

        module, _ = module_at(loaded.model, layer_at(loaded.model, self.layer))
        sparse = autoencoder(self.weights).to(loaded.device)
        chosen = torch.as_tensor(self.chosen.astype(np.int64), device=loaded.device)

        def change(states: Tensor, positions: Tensor) -> Tensor:
            now = sparse.encode(states.float())[..., chosen]
            active = (now > 0).any(-1, keepdim=True) & (positions > 0)[..., None]
            # decode(f') + (h - decode(f)) is h + (f' - f) D: the autoencoder's own error never enters.
            moved = states + ((-self.clamp - now) @ sparse.decoder[chosen]).to(states)
            return torch.where(active, moved, states)

        return changed_states(loaded.model, [(module, change)])


@dataclass(frozen=True)
class Neurons(Action):
    """MLP neurons whose value is likelier under the forget set are moved to where the retain set has such a value.

    v becomes m_r - (s_r / s_f)(v - m_f), with probability 1 - N_r / (N_r + N_f) and where N_f(v) >= N_r(v), for neurons whose mean
    rises most from retain to forget texts. N_r and N_f are normal densities of a neuron before its activation, over all tokens
    but the first of prompts with their answers.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    neurons: float = 0.05
    """Share of all neurons that may be moved."""
    chance_seed: int = 0
    """Chance is drawn once for each place in a text and each neuron: the same for all prompts and all samples."""
    chosen: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """(n, 2) layer and number of each neuron, in that order."""
    normal: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """(n, 4) of each: mean and deviation on forget texts, mean and deviation on retain texts."""

    def __post_init__(self) -> None:
        if not 0 < self.neurons <= 1:
            raise InputError(f"neurons is a share of all neurons, above 0 and at most 1, got {self.neurons}.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Moving of neurons", *self.needs)
        if loaded is None:
            raise InputError("Moving of neurons reads the model, which is not here; use --engine native or generate.")
        forget, retain = (_moments(loaded, some) for some in (known.forget, known.retain))
        rise = forget[..., 0] - retain[..., 0]
        live = (forget[..., 1] > 0) & (retain[..., 1] > 0)  # a neuron that never changes has no density
        order = np.argsort(-np.where(live, rise, -np.inf), axis=None, kind="stable")
        order = order[: max(1, round(self.neurons * rise.size))]
        order = np.sort(order[live.ravel()[order]])
        chosen = np.stack(np.unravel_index(order, rise.shape), axis=1)
        normal = np.concatenate([forget, retain], axis=-1).reshape(-1, 4)[order]
        return replace(self, chosen=chosen.astype(np.float64), normal=normal)

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        import torch

        from leakatk.models.hooks import changed_states
        from leakatk.models.layers import module_at

        chance = _Chance(self.chance_seed, len(self.chosen))
        changes = []
        for layer in np.unique(self.chosen[:, 0]).astype(int):
            rows = np.flatnonzero(self.chosen[:, 0] == layer)
            module, _ = module_at(loaded.model, layer, "mlp_gate")
            places = torch.as_tensor(self.chosen[rows, 1].astype(np.int64), device=loaded.device)
            normal = torch.as_tensor(self.normal[rows], dtype=torch.float32, device=loaded.device)

            def change(
                states: Tensor, positions: Tensor, rows: Ints = rows, places: Tensor = places, normal: Tensor = normal
            ) -> Tensor:
                value = states[..., places].float()
                draws = torch.as_tensor(chance.at(positions.cpu().numpy())[..., rows]).to(value)
                moved = adjusted(value, draws, *normal.T)
                return states.index_copy(-1, places, moved.to(states))

            changes.append((module, change))
        return changed_states(loaded.model, changes)


def adjusted(
    value: Tensor,
    chance: Tensor,
    forget_mean: Tensor,
    forget_spread: Tensor,
    retain_mean: Tensor,
    retain_spread: Tensor,
) -> Tensor:
    """(..., n) values of neurons, moved where the forget set explains them better and chance says so.

    chance (..., n): uniform on [0, 1).  The others (n,): means and deviations of two normal densities.
    """

    def log_density(mean: Tensor, spread: Tensor) -> Tensor:
        return -0.5 * ((value - mean) / spread).square() - spread.log()

    lead = log_density(forget_mean, forget_spread) - log_density(retain_mean, retain_spread)
    other = retain_mean - retain_spread / forget_spread * (value - forget_mean)
    return other.where((lead >= 0) & (chance < lead.sigmoid()), value)


class _Chance:
    """Uniform numbers of places in a text, `count` each; those of a place never depend on how many places are asked for."""

    def __init__(self, seed: int, count: int) -> None:
        self.seed, self.count = seed, count
        self.table = np.zeros((0, count))

    def at(self, positions: Ints) -> Floats:
        """positions (...) -> (..., count)"""
        need = int(positions.max(initial=0)) + 1
        if need > len(self.table):
            self.table = np.random.default_rng(self.seed).random((2 * need, self.count))
        found: Floats = self.table[positions]
        return found


def _moments(loaded: LoadedModel, prompts: Sequence[Prompt]) -> Floats:
    """(layers, neurons, 2) mean and deviation of each neuron before its activation, over the texts' tokens but the first."""
    from leakatk.models.layers import decoder_layers, states_of

    places = [(layer, "mlp_gate") for layer in range(len(decoder_layers(loaded.model)))]
    total = square = 0.0
    count = 0
    for ids in whole_texts(
        loaded, prompts
    ):  # one by one: all states of many texts at once may be more than there is memory
        states = np.stack([one[0][1:].double().numpy() for one in states_of(loaded, [ids], places)])
        total, square, count = total + states.sum(1), square + (states**2).sum(1), count + states.shape[1]
    mean = total / count
    return np.stack([mean, np.sqrt(np.maximum(square / count - mean**2, 0.0))], axis=-1)
