"""Sparse autoencoder: states as sums of few directions out of many (top-k, in the shape of EleutherAI's sparsify).

    f = top_k(relu((x - b) E' + e)),    x^ = f D + b,    rows of D of length 1

E (m, d), e (m,), D (m, d), b (d,). Trained by Adam on |x - x^|^2 over the variance of x. With `auxk`, features that
have long been silent learn what is left over: they alone, `top` of them, fit x - x^ (Gao et al. 2024, arXiv 2406.04093).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from leakatk.errors import InputError, first_line
from leakatk.files import checksums

FILE = "sae.safetensors"
_NAMES = ("encoder", "encoder_bias", "decoder", "bias")
_ROWS = 4096  # tokens encoded at once where no gradient is taken


@dataclass(frozen=True, slots=True)
class SparseSettings:
    """How a sparse autoencoder is trained."""

    features: int = 0
    """Directions; 0 is 32 for each entry of a state, as in sparsify."""
    top: int = 32
    """How many of them a state may use."""
    steps: int = 1000
    """Steps of the optimiser."""
    batch: int = 256
    """States of a step, drawn with replacement."""
    learning_rate: float = 1e-3
    """Of Adam."""
    auxk: float = 0.0
    """Weight of what silent features fit; 1/32 is sparsify's and OpenAI's, 0 is off."""
    dead_after: int = 10_000
    """States without any use after which a feature is silent."""
    seed: int = 0
    """Draws the first directions and the batches."""

    def __post_init__(self) -> None:
        if min(self.top, self.steps, self.batch, self.dead_after) < 1 or self.features < 0:
            raise InputError(
                "A sparse autoencoder's top, steps, batch and dead_after are at least 1, features at least 0."
            )
        if self.features and self.features < self.top:
            raise InputError(f"top = {self.top} of {self.features} features; top is at most their number.")
        if not self.learning_rate > 0 or not self.auxk >= 0:
            raise InputError("A sparse autoencoder's learning_rate is above 0 and its auxk at least 0.")


@dataclass(frozen=True, slots=True)
class SparseNumbers:
    """How well an autoencoder says some states."""

    variance_explained: float
    """1 - sum |x - x^|^2 / sum |x - mean|^2; 1 is all, NaN where the states are all alike."""
    features: int
    """Directions."""
    dead: int
    """Directions that none of these states uses."""
    used: float
    """Directions that a state uses, on average; at most `top`."""
    states: int
    """States that were looked at."""

    def __str__(self) -> str:
        return (
            f"{self.variance_explained:.1%} of the variance of {self.states:,} states explained, {self.used:.1f} features a state; "
            f"{self.dead:,} of {self.features:,} features dead"
        )


class SparseAutoencoder(nn.Module):
    """A top-k sparse autoencoder.

    width: entries of a state, d.
    features: directions, m.
    top: how many a state may use, k.
    """

    def __init__(self, width: int, features: int, top: int) -> None:
        super().__init__()
        if not 1 <= top <= features:
            raise InputError(f"top = {top} of {features} features; top is at least 1 and at most their number.")
        self.top = top
        self.encoder = nn.Parameter(torch.zeros(features, width))
        self.encoder_bias = nn.Parameter(torch.zeros(features))
        self.decoder = nn.Parameter(torch.zeros(features, width))
        self.bias = nn.Parameter(torch.zeros(width))

    @property
    def features(self) -> int:
        return len(self.encoder)

    def before_top(self, states: Tensor) -> Tensor:
        """(..., m) how much of each direction is in the states (..., d), before all but the largest are dropped."""
        return ((states - self.bias) @ self.encoder.T + self.encoder_bias).relu()

    def encode(self, states: Tensor) -> Tensor:
        """(..., m) features of the states (..., d), at least 0; at most `top` of each state are above 0."""
        return largest(self.before_top(states), self.top)

    def decode(self, features: Tensor) -> Tensor:
        """(..., d) the states that features (..., m) stand for."""
        return features @ self.decoder + self.bias

    def forward(self, states: Tensor) -> Tensor:
        """(..., d) the states as the autoencoder says them."""
        return self.decode(self.encode(states))

    @torch.no_grad()
    def normalise(self) -> None:
        """Give every direction length 1."""
        lengths = self.decoder.norm(dim=1, keepdim=True)
        self.decoder.div_(lengths.clamp(min=torch.finfo(self.decoder.dtype).eps))


def largest(values: Tensor, count: int) -> Tensor:
    """(..., m) the `count` largest entries of each row where they stand, 0 elsewhere."""
    found = values.topk(count, dim=-1)
    return torch.zeros_like(values).scatter(-1, found.indices, found.values)


def fit_sparse(states: Tensor, settings: SparseSettings | None = None) -> SparseAutoencoder:
    """A sparse autoencoder trained on states (N, d).

    The same states and settings give the same weights on the same machine. InputError for fewer than two states, or states
    that are not numbers.
    """
    settings = settings or SparseSettings()
    if states.dim() != 2 or len(states) < 2:
        raise InputError(f"A sparse autoencoder needs at least two states (N, d), got the shape {tuple(states.shape)}.")
    states = states.detach().float()
    if not bool(states.isfinite().all()):
        raise InputError("A sparse autoencoder cannot learn states that are infinite or no number.")
    draw = torch.Generator().manual_seed(settings.seed)
    made = _begun(states, settings, draw)
    scale = (states - states.mean(0)).square().sum(1).mean().clamp(min=torch.finfo(torch.float32).tiny)
    optimiser = torch.optim.Adam(made.parameters(), lr=settings.learning_rate)
    silent = torch.zeros(made.features, dtype=torch.long, device=states.device)  # states since a feature's last use
    with torch.enable_grad():
        for _ in range(settings.steps):
            chosen = torch.randint(len(states), (settings.batch,), generator=draw)
            loss, used = objective(made, states[chosen.to(states.device)], silent > settings.dead_after, settings.auxk)
            optimiser.zero_grad(set_to_none=True)
            (loss / scale).backward()  # type: ignore[no-untyped-call]
            _keep_lengths(made)
            optimiser.step()
            made.normalise()
            silent = torch.where(used, 0, silent + settings.batch)
    return made.requires_grad_(False).eval()


def _begun(states: Tensor, settings: SparseSettings, draw: torch.Generator) -> SparseAutoencoder:
    """Random directions of length 1, read as they are written, about the mean state."""
    width = states.shape[1]
    features = settings.features or 32 * width
    made = SparseAutoencoder(width, features, min(settings.top, features))
    with torch.no_grad():
        made.decoder.copy_(torch.randn(features, width, generator=draw))
        made.normalise()
        made.encoder.copy_(made.decoder)
    made.to(states.device)
    with torch.no_grad():
        made.bias.copy_(states.mean(0))
    return made


def objective(sparse: SparseAutoencoder, states: Tensor, dead: Tensor, auxk: float) -> tuple[Tensor, Tensor]:
    """(the loss of states (B, d), before it is divided by their variance; (m,) which features they use).

    dead (m,): which features are silent. With auxk > 0 these fit what is left over, min(top, their number) of them a state.
    """
    before = sparse.before_top(states)
    features = largest(before, sparse.top)
    left = states - sparse.decode(features)
    loss = left.square().sum(1).mean()
    count = min(sparse.top, int(dead.sum()))
    if auxk and count:
        spare = largest(before.masked_fill(~dead, 0), count) @ sparse.decoder
        loss = loss + auxk * (left.detach() - spare).square().sum(1).mean()
    return loss, (features > 0).any(0)


@torch.no_grad()
def _keep_lengths(sparse: SparseAutoencoder) -> None:
    """Take from the decoder's gradient what would only change the length of a direction."""
    gradient = sparse.decoder.grad
    if gradient is not None:
        gradient -= (gradient * sparse.decoder).sum(1, keepdim=True) * sparse.decoder


@torch.no_grad()
def measure(sparse: SparseAutoencoder, states: Tensor) -> SparseNumbers:
    """How well it says these states (N, d). Give states that it was not trained on to learn how it does on others."""
    states = states.float()
    seen = torch.zeros(sparse.features, dtype=torch.bool, device=states.device)
    error = uses = 0.0
    for part in torch.split(states, _ROWS):
        features = sparse.encode(part)
        error += float((part - sparse.decode(features)).square().sum(dtype=torch.float64))
        uses += float((features > 0).sum())
        seen |= (features > 0).any(0)
    whole = float((states - states.mean(0)).square().sum(dtype=torch.float64))
    return SparseNumbers(
        variance_explained=1 - error / whole if whole else float("nan"),
        features=sparse.features,
        dead=int((~seen).sum()),
        used=uses / len(states),
        states=len(states),
    )


def save_sparse(sparse: SparseAutoencoder, folder: str | Path, about: Mapping[str, Any] | None = None) -> Path:
    """Write it into a directory, as safetensors with a checksum; returns the directory.

    about: plain values that are kept with it, such as the layer, the model's fingerprint and its numbers.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{FILE}"
    weights = {name: getattr(sparse, name).detach().cpu().contiguous() for name in _NAMES}
    save_file(weights, part, metadata={"top": str(sparse.top), "about": json.dumps(dict(about or {}))})
    checksums.add_file(folder / FILE, part)
    part.replace(folder / FILE)
    return folder


def load_sparse(folder: str | Path) -> tuple[SparseAutoencoder, dict[str, Any]]:
    """(the autoencoder in a directory, what was said about it). InputError for one that is not there, RunError for a damaged one."""
    file = Path(folder) / FILE
    if not file.is_file():
        raise InputError(f"{folder} holds no sparse autoencoder ({FILE}); make one with leakatk.models.sparse.")
    checksums.verify(file, "make it again")
    try:
        with safe_open(file, framework="pt") as opened:
            weights = {name: opened.get_tensor(name) for name in _NAMES}
            told = opened.metadata() or {}
        made = SparseAutoencoder(weights["encoder"].shape[1], len(weights["encoder"]), int(told["top"]))
        made.load_state_dict(weights)
        about: dict[str, Any] = json.loads(told["about"])
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, IndexError) as error:
        raise InputError(f"{file} is no whole sparse autoencoder: {first_line(error)}; make it again.") from error
    return made.requires_grad_(False).eval(), about
