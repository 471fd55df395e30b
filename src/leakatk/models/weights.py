"""The weights of a model as plain tensors by name: taken, put back, swapped for a while, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from leakatk.errors import InputError

Weights = Mapping[str, Tensor]


def weights_of(model: nn.Module, *, device: str | torch.device | None = "cpu") -> dict[str, Tensor]:
    """A copy of every tensor of the model's state, by name; a later step of training does not change it.

    device: where the copy lies; None: where each tensor is.
    """
    return {
        name: value.detach().to(device=device, copy=True) if device is not None else value.detach().clone()
        for name, value in model.state_dict().items()
    }


def put(model: nn.Module, weights: Weights) -> None:
    """Copy these weights into the model, each to the device and the precision it has there.

    InputError, with nothing changed, where a name or a shape is not the model's.
    """
    state = model.state_dict()
    strange = sorted(state.keys() ^ weights.keys())
    strange = strange or sorted(name for name, value in state.items() if value.shape != weights[name].shape)
    if strange:
        raise InputError(
            f"These weights are of another model: {len(strange)} tensors differ in name or shape (the first: {strange[0]})."
        )
    model.load_state_dict(dict(weights))


@contextmanager
def swapped(model: nn.Module, weights: Weights | None) -> Iterator[None]:
    """The model with other weights while inside, its own again afterwards, also after an error. None: as it is."""
    if weights is None:
        yield
        return
    own = weights_of(model)
    put(model, weights)
    try:
        yield
    finally:
        put(model, own)


def weights_hash(weights: Weights) -> str:
    """The first 16 hex digits of SHA-256 over the names and the bytes of these tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
