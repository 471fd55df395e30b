"""Weights of a model as tensors by name: taken, put back, swapped for a while, hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from leakatk.errors import InputError

Weights = Mapping[str, Tensor]


def weights_of(model: nn.Module, *, device: str | torch.device | None = "cpu") -> dict[str, Tensor]:
    """A copy of every tensor of the model's state, by name; a later step of training does not change it.

    device: where the copy lies; None: where each tensor is.
    """
    copies: dict[tuple[object, ...], Tensor] = {}  # tied weights are one tensor under two names, and one copy
    found = {}
    for name, value in model.state_dict().items():
        place = value.data_ptr(), value.shape, value.stride(), value.dtype, value.device
        if place not in copies:
            copies[place] = value.detach().to(device=value.device if device is None else device, copy=True)
        found[name] = copies[place]
    return found


@torch.no_grad()
def put(model: nn.Module, weights: Weights, *, partly: bool = False) -> None:
    """Copy these weights into the model, one after the other, each to the device and the precision it has there.

    partly: what has no weights here stays as it is.
    InputError where a name or a shape is not the model's; nothing is changed then, unless partly, where weights may be read one
    at a time from a disk and a shape is seen when its turn comes.
    """
    state = model.state_dict()
    strange = sorted(weights.keys() - state.keys() if partly else state.keys() ^ weights.keys())
    if not strange and not partly:
        strange = sorted(name for name, value in state.items() if value.shape != weights[name].shape)
    if strange:
        raise InputError(
            f"These weights are of another model: {len(strange)} tensors differ in name or shape (the first: {strange[0]})."
        )
    for name in weights:
        value = weights[name]
        if value.shape != state[name].shape:  # a copy would be spread over the larger one, and nobody told
            raise InputError(
                f"These weights are of another model: {name} is {list(value.shape)}, not {list(state[name].shape)}."
            )
        state[name].copy_(value)


Park = Callable[[nn.Module], Weights]


@contextmanager
def swapped(model: nn.Module, weights: Weights | None, park: Park = weights_of) -> Iterator[None]:
    """The model with other weights while inside, its own again afterwards, also after an error. None: as it is.

    park: keeps its own meanwhile, in memory or on disk.
    """
    if weights is None:
        yield
        return
    own = park(model)
    put(model, weights, partly=True)
    try:
        yield
    finally:
        put(model, own, partly=True)


def weights_hash(weights: Weights) -> str:
    """The first 16 hex digits of SHA-256 over the names and the bytes of these tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; tied ones under each of their names."""
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


def dtypes_of(model: nn.Module) -> dict[str, torch.dtype]:
    """The precision of each parameter and buffer."""
    return {name: tensor.dtype for name, tensor in named_tensors(model)}
