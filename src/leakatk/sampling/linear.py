"""The faster of torch's two CPU matrix products for linear layers, while sampling.

torch sends float32 products to MKL, which on some processors runs at less than half of what oneDNN reaches there. The
two are timed once; where oneDNN wins clearly, a model's linear layers use it for the duration of a forward pass. The
results differ by rounding only. No gradients: for inference alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial

import torch
from torch import Tensor, nn

_MARGIN = 1.2  # how much faster it must be to be worth the change


def _onednn(weight: Tensor, bias: Tensor | None, inputs: Tensor) -> Tensor:
    result: Tensor = torch.ops.mkldnn._linear_pointwise(inputs, weight, bias, "none", [], "")
    return result


@cache
def onednn_is_faster() -> bool:
    """Times both once (some milliseconds). False where this torch has no oneDNN."""
    inputs, weight = torch.ones(256, 512), torch.ones(512, 512)

    def seconds(product: Callable[[], Tensor]) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            product()
            times.append(time.perf_counter() - start)
        return min(times)

    try:
        theirs = seconds(lambda: _onednn(weight, None, inputs))
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return theirs * _MARGIN < seconds(lambda: nn.functional.linear(inputs, weight))


def replaceable(model: nn.Module) -> list[nn.Linear]:
    """The plain float32 linear layers of a model on the CPU that gain from oneDNN, if they do on this machine."""
    layers = [
        module
        for module in model.modules()
        if type(module) is nn.Linear
        and module.weight.dtype == torch.float32
        and module.weight.device.type == "cpu"
        # A layer with hooks or an own forward keeps its way.
        and not module._forward_hooks
        and not module._forward_pre_hooks
        and "forward" not in vars(module)
    ]
    return layers if layers and onednn_is_faster() else []


@contextmanager
def faster(layers: list[nn.Linear]) -> Iterator[None]:
    """Within: these layers compute with oneDNN. The model is left as it was."""
    try:
        for layer in layers:
            layer.forward = partial(_onednn, layer.weight, layer.bias)  # type: ignore[method-assign]
        yield
    finally:
        for layer in layers:
            vars(layer).pop("forward", None)
