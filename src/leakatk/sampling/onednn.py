"""Linear layers in float32 on a CPU, through oneDNN.

torch multiplies float32 matrices with MKL, which takes a slow path on processors that are not Intel's: oneDNN, which comes
with torch too and does all of its bfloat16 products, is two to four times faster there, and its rows depend less on
how many others are in the batch. It is chosen by what the layer is, never by timing, so that a run and its
continuation multiply alike.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """module(x), without gradients. A subclass of nn.Linear, an adapter or a layer with hooks is called as it is."""
    plain = (
        _ONEDNN
        and type(module) is nn.Linear
        and x.dtype == torch.float32
        and x.device.type == "cpu"
        and not (module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
    )
    if not plain:
        out: Tensor = module(x)
        return out
    fast: Tensor = torch.ops.mkldnn._linear_pointwise(x, module.weight, module.bias, "none", [], "")
    return fast


def padded(rows: int) -> int:
    """The next of few numbers of rows, at most a sixteenth more.

    oneDNN makes code for every shape that it meets, which takes longer than one small product; rows end one by one, so
    without this nearly every step would have a shape of its own.
    """
    step = max(8, 1 << max(0, rows.bit_length() - 5))
    return -(-rows // step) * step
