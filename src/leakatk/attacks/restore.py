"""A model that may be changed, and is afterwards bit for bit what it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def kept_weights(model: nn.Module) -> Iterator[None]:
    """Within the block weights and buffers may change in value and precision; after it they are as before, bit for bit.

    Holds one copy of them, in the machine's main memory. ValueError when the modules themselves were changed.
    """
    modules = list(model.named_modules())
    # By holder and name, so that a tensor that was put in the place of another is found too.
    places = [
        (kind, name)
        for _, module in modules
        for kind in (module._parameters, module._buffers)
        for name, tensor in kind.items()
        if tensor is not None
    ]
    originals = [kind[name] for kind, name in places]
    kept: dict[int, tuple[Tensor, Tensor, torch.device, bool]] = {}
    for tensor in originals:
        assert tensor is not None
        if id(tensor) not in kept:
            copy = tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach().cpu()
            kept[id(tensor)] = tensor, copy, tensor.device, tensor.requires_grad
    training = model.training
    try:
        yield
    finally:
        for (kind, name), tensor in zip(places, originals, strict=True):
            kind[name] = tensor
        for tensor, copy, device, wanted in kept.values():
            tensor.grad = None
            tensor.data = copy.to(device)
            tensor.requires_grad_(wanted)
        model.train(training)
    if [name for name, _ in model.named_modules()] != [name for name, _ in modules]:
        raise ValueError("an attack changed the modules of the model; it may change weights alone")
