"""Detectors that read the inside of the guarded model: features of a sparse autoencoder, key space, energy, states.

They read the whole prompt as it is rendered, earlier turns included. Each prompt is run by itself, so that its score depends
on nothing else.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.arrays import Ints
from leakatk.errors import InputError
from leakatk.guards.base import _DIGITS, Floats, Threshold
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel
    from leakatk.models.sparse import SparseAutoencoder


@dataclass(frozen=True)
class Watching(Threshold):
    """A detector that asks the guarded model, whose threshold is set from retain prompts unless it is given."""

    reads_model: ClassVar[bool] = True
    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    threshold: float = 0.0
    """Scores from here on are flagged; 0 is just above the `share`-quantile of the retain prompts' scores."""
    share: float = 0.95
    """Quantile of the retain prompts' scores; not used with a threshold or with `keep`."""
    inside: LoadedModel | None = dataclasses.field(default=None, repr=False, compare=False)
    """The guarded model; set by `fit` and by `onto`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.share <= 1:
            raise InputError(f"A detector's share is a quantile, from 0 to 1, got {self.share}.")

    def onto(self, loaded: LoadedModel) -> Self:
        return replace(self, inside=loaded)

    def fitted(self, known: Known, held: Sequence[Prompt]) -> Self:
        if self.keep or self.threshold:
            return super().fitted(known, held)
        known.need("A threshold from retain prompts", "retain")
        scores = np.round(self.score(held), _DIGITS)
        limit = float(np.nextafter(np.quantile(scores, self.share, method="higher"), np.inf))
        return replace(self, limit=limit)

    @property
    def _model(self) -> LoadedModel:
        if self.inside is None:
            raise InputError(
                f"{type(self).__name__} reads the inside of the guarded model, which is not here; use --engine native or generate."
            )
        return self.inside

    def _ids(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Token ids of each prompt as it is rendered."""
        model = self._model
        return [model.template.prompt_ids(model.tokenizer, prompt.query) for prompt in prompts]


def halves(known: Known) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Every second retain prompt, and the others: what a detector learns from must not set its threshold. One prompt is both."""
    return (known.retain[::2], known.retain[1::2] or known.retain)


def whole_texts(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt as it is rendered, with its true answer and the end."""
    from leakatk.models.token_stats import answer_pairs

    pairs = answer_pairs(loaded, [prompt.query for prompt in prompts], [prompt.answer for prompt in prompts])
    return [[*asked, *answer] for asked, answer in pairs]


def _states(loaded: LoadedModel, texts: Sequence[Sequence[int]], layer: float, at: str) -> list[Tensor]:
    """States (T, d) of each text; float32 on the CPU."""
    from leakatk.models.layers import layer_at, states_of

    [found] = states_of(loaded, texts, [(layer_at(loaded.model, layer), at)])
    return found


def mean_states(loaded: LoadedModel, texts: Sequence[Sequence[int]], layer: float) -> Floats:
    """(m, d) mean of the states of each text after a layer."""
    return np.stack([one.double().mean(0).numpy() for one in _states(loaded, texts, layer, "block")])


@dataclass(frozen=True)
class ActiveShare(Watching):
    """Share of a prompt's tokens with a feature that the forget set uses and the retain set does not.

    Features are those of a sparse autoencoder on the states after a layer, trained here on forget and retain texts or loaded.
    The first token is never looked at. Every second retain prompt chooses features, the others set the threshold.
    """

    layer: float = 0.5
    """After which layer: a share of the depth between 0 and 1, or a number."""
    count: int = 20
    """Features that are watched, at most."""
    percentile: float = 90.0
    """They are above this percentile of s_f / s_r, of the features that the forget set uses."""
    quiet: float = 1.0
    """Their s_r is at most this many times the mean s_r of all features."""
    latents: int = 1024
    """Features of the autoencoder."""
    top: int = 16
    """How many of them a state may use."""
    steps: int = 500
    """Training steps."""
    sae: str = ""
    """Directory of an autoencoder that `leakatk.models.sparse` saved; "" trains one."""
    weights: Mapping[str, Floats] = dataclasses.field(default_factory=dict, repr=False, compare=False)
    """Of the autoencoder: encoder (m, d), encoder_bias (m,), decoder (m, d), bias (d,), top (1,)."""
    chosen: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """Numbers of the watched features."""

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        import torch

        made = replace(self, inside=loaded)
        known.need("A detector on features", *self.needs)
        model, (learn, held) = made._model, halves(known)
        forget, retain = (
            [states[1:] for states in _states(model, whole_texts(model, some), self.layer, "block")]
            for some in (known.forget, learn)
        )
        sparse = self._autoencoder(torch.cat([*forget, *retain]))
        both = [sparse.encode(torch.cat(some)).double().square().mean(0).numpy() for some in (forget, retain)]
        chosen = important(*both, count=self.count, percentile=self.percentile, quiet=self.quiet)
        if not len(chosen):
            raise InputError(
                "No feature of the autoencoder is used by the forget prompts and silent on retain prompts; raise quiet, or lower percentile."
            )
        weights = {name: value.double().numpy() for name, value in sparse.state_dict().items()}
        weights["top"] = np.array([float(sparse.top)])
        return replace(made, weights=weights, chosen=chosen.astype(np.float64)).fitted(known, held)

    def _autoencoder(self, states: Tensor) -> SparseAutoencoder:
        from leakatk.models.sparse import SparseSettings, fit_sparse, load_sparse

        if not self.sae:
            return fit_sparse(states, SparseSettings(features=self.latents, top=self.top, steps=self.steps))
        found, _ = load_sparse(self.sae)
        if found.bias.shape[0] != states.shape[1]:
            raise InputError(
                f"The autoencoder in {self.sae} reads states of {found.bias.shape[0]} entries and the model's have {states.shape[1]}."
            )
        return found

    @property
    def sparse(self) -> SparseAutoencoder:
        """The autoencoder."""
        return autoencoder(self.weights)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        sparse, chosen = self.sparse, self.chosen.astype(np.int64)
        states = _states(self._model, self._ids(prompts), self.layer, "block")
        active = [(sparse.encode(one[1:])[:, chosen] > 0).any(1) for one in states]
        return np.array([float(one.double().mean()) if len(one) else 0.0 for one in active])

    def describe(self) -> dict[str, Any]:
        from leakatk.models.fingerprint import fingerprint

        return {**super().describe(), "sae": fingerprint(self.sae) if self.sae else ""}


def autoencoder(weights: Mapping[str, Floats]) -> SparseAutoencoder:
    """The sparse autoencoder with these weights, as `ActiveShare.weights` holds them."""
    import torch

    from leakatk.models.sparse import SparseAutoencoder

    made = SparseAutoencoder(weights["encoder"].shape[1], len(weights["encoder"]), int(weights["top"][0]))
    made.load_state_dict({name: torch.from_numpy(value).float() for name, value in weights.items() if name != "top"})
    return made.requires_grad_(False).eval()


def important(forget: Floats, retain: Floats, *, count: int, percentile: float, quiet: float) -> Ints:
    """Numbers of the features that matter to what is to be forgotten, the most important first (DSG, our words).

    forget, retain (m,): mean squares s_f, s_r of each feature. Kept are those above the percentile of s_f / s_r among features with
    s_f > 0, whose s_r is at most `quiet` times the mean of all; of them the `count` with the largest s_f.
    """
    used = forget > 0
    if not used.any():
        return np.zeros(0, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(used, forget / retain, 0.0)  # infinite where the retain set never uses it
    bound = np.percentile(ratio[used], percentile, method="lower")
    kept = np.flatnonzero(used & (ratio >= bound) & (retain <= quiet * retain.mean()))
    order = np.argsort(-forget[kept], kind="stable")
    found: Ints = kept[order][:count]
    return found


@dataclass(frozen=True)
class KeySpace(Watching):
    """How deep within the box of the forget prompts' keys a prompt's key is: minus the largest |k - mean| / deviation.

    The key is what goes into the last matrix of a layer's MLP, at the last token of the prompt. A prompt is flagged when the
    box mean +- alpha deviation holds its key: threshold is -alpha.
    """

    layer: float = 0.5
    """The layer whose MLP it is: a share of the depth between 0 and 1, or a number."""
    middle: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """(d,) mean of the forget prompts' keys."""
    spread: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """(d,) their deviation, at least a millionth of the largest."""

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        made = replace(self, inside=loaded)
        known.need("A detector in key space", *self.needs)
        if len(known.forget) < 2:
            raise InputError("A box in key space needs at least two forget prompts; give more.")
        keys = made._keys(known.forget)
        spread = keys.std(axis=0)
        floor = max(1e-6 * float(spread.max()), float(np.finfo(np.float64).tiny))
        made = replace(made, middle=keys.mean(axis=0), spread=np.maximum(spread, floor))
        return made.fitted(known, known.retain)

    def _keys(self, prompts: Sequence[Prompt]) -> Floats:
        states = _states(self._model, self._ids(prompts), self.layer, "mlp_in")
        return np.stack([one[-1].double().numpy() for one in states])

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        found: Floats = -(np.abs(self._keys(prompts) - self.middle) / self.spread).max(axis=1)
        return found


@dataclass(frozen=True)
class Energy(Watching):
    """Free energy of what the model would say next, -T logsumexp(z / T): high where it knows nothing to say."""

    needs: ClassVar[tuple[str, ...]] = ("retain",)

    temperature: float = 1.0
    """T."""
    over: str = "answer"
    """"answer": where its first token is predicted; "prompt": the mean over all places of the prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.temperature > 0:
            raise InputError(f"The temperature of an energy is above 0, got {self.temperature}.")
        if self.over not in ("answer", "prompt"):
            from leakatk.errors import UnknownNameError

            raise UnknownNameError("place of an energy", self.over, ("answer", "prompt"))

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("A detector on energies", *self.needs)
        return replace(self, inside=loaded).fitted(known, known.retain)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        import torch

        model, found = self._model, []
        for ids in self._ids(prompts):
            with torch.inference_mode():
                tokens = torch.tensor([ids], device=model.device)
                logits = model.model(input_ids=tokens, use_cache=False).logits[0].double()
            energy = -self.temperature * (logits / self.temperature).logsumexp(-1)
            found.append(float(energy[-1] if self.over == "answer" else energy.mean()))
        return np.array(found)
