"""Linear layers on a CPU, through oneDNN.

torch multiplies float32 matrices with MKL, which takes a slow path on processors that are not Intel's: oneDNN, which comes
with torch too and does all of its bfloat16 products, is two to four times faster there, and its rows depend less on
how many others are in the batch. It is chosen by what the layer is, never by timing, so that a run and its
continuation multiply alike.

For every product oneDNN first copies the weights into an order of its own, which takes as long as the product itself when
there are few rows. `Packed` keeps that copy, and does the activation, the product with another tensor or the sum with it
before the result leaves the registers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]
_PACKS = _ONEDNN and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
_LIKE = 64  # rows that the order of packed weights is chosen for; it fits all numbers of rows


def is_plain(module: nn.Module) -> bool:
    """Whether a module is a linear layer and nothing more: not a subclass, no adapter, no hooks, no forward put in place."""
    return type(module) is nn.Linear and not (
        module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module)
    )


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """module(x), without gradients. A subclass of nn.Linear, an adapter or a layer with hooks is called as it is."""
    if not (_ONEDNN and x.dtype == torch.float32 and x.device.type == "cpu" and is_plain(module)):
        out: Tensor = module(x)
        return out
    fast: Tensor = torch.ops.mkldnn._linear_pointwise(x, module.weight, module.bias, "none", [], "")
    return fast


class Packed:
    """The weights of plain linear layers of one input, one below the other, in oneDNN's order: a second copy of them.

    What is done to the layers' weights afterwards is not seen.
    """

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        with torch.inference_mode():
            weights: list[Tensor] = [layer.weight.detach() for layer in layers]
            whole = weights[0] if len(layers) == 1 else torch.cat(weights)
            self.weight = torch.ops.mkldnn._reorder_linear_weight(whole, _LIKE)
            self.bias: Tensor | None = None
            if any(layer.bias is not None for layer in layers):
                biases: list[Tensor] = [x.weight.new_zeros(len(x.weight)) if x.bias is None else x.bias for x in layers]
                self.bias = torch.cat(biases)

    def __call__(self, x: Tensor, then: str = "none") -> Tensor:
        """The layers' outputs side by side, (rows, all their sizes). then: "none", or "swish", x * sigmoid(x), of the result."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, then, [], "")
        return out

    def with_other(self, x: Tensor, other: Tensor, how: str) -> Tensor:
        """The layers' outputs and `other`, of the same shape, together. how: "add" or "mul"."""
        out: Tensor = torch.ops.mkldnn._linear_pointwise.binary(x, other, self.weight, self.bias, how)
        return out


def packs(dtype: torch.dtype) -> bool:
    """Whether weights of a type can be packed here: float32 wherever torch has oneDNN, bfloat16 on processors that multiply it."""
    if not _PACKS:
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def padded(rows: int) -> int:
    """The next of few numbers of rows, at most a sixteenth more.

    oneDNN makes code for every shape that it meets, which takes longer than one small product; rows end one by one, so
    without this nearly every step would have a shape of its own.
    """
    step = max(8, 1 << max(0, rows.bit_length() - 5))
    return -(-rows // step) * step
