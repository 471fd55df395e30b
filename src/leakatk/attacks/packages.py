"""Roundings of other packages, as they are used: bitsandbytes, torchao and the files of llama.cpp. Each is imported when it rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.hush import hushed
from leakatk.models.files import is_installed

# How -> (package, how to install it).
NEEDED = {
    "bitsandbytes": ("bitsandbytes", "pip install 'leak-at-k[bitsandbytes]'"),
    "torchao": ("torchao", "pip install torchao"),
    "gguf": ("gguf", "pip install 'leak-at-k[gguf]'"),
}
GGUF_BLOCK = 32  # weights of a row that share a scale
GGUF_TYPES = {4: "Q4_0", 8: "Q8_0"}


def check_package(who: str, how: str) -> None:
    """InputError where the package that rounds so is not installed."""
    if how in NEEDED and not is_installed(NEEDED[how][0]):
        package, remedy = NEEDED[how]
        raise InputError(
            f"{who} needs the package {package}, which is not installed: run `{remedy}`, or take another how."
        )


def fits(how: str, columns: int) -> bool:
    """Whether a row of so many weights can be rounded so."""
    return how != "gguf" or columns % GGUF_BLOCK == 0


def bitsandbytes(weight: Tensor, bits: int) -> Tensor:
    """(rows, columns) as `--load-in 4bit` (NF4 in blocks of 64) or `8bit` (int8, a scale a row, of 16-bit weights) holds them."""
    with hushed():
        from bitsandbytes import functional

        kernels: Any = functional
        if bits == 4:
            codes, state = kernels.quantize_4bit(weight.contiguous(), quant_type="nf4")
            found: Tensor = kernels.dequantize_4bit(codes, state)
        else:
            codes, scales, _ = kernels.int8_vectorwise_quant(weight.half().contiguous())
            found = codes.float() * scales.float()[:, None] / 127
    return found.to(weight.dtype)


def torchao(weight: Tensor, bits: int) -> Tensor:
    """(rows, columns) as torchao's weight-only configurations hold them: int8 with a scale a row, int4 in groups of 32."""
    with hushed():
        from torchao.quantization import Int8WeightOnlyConfig, IntxWeightOnlyConfig, quantize_
        from torchao.quantization.granularity import PerGroup

        layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device=weight.device, dtype=weight.dtype)
        layer.weight.data.copy_(weight)
        four = IntxWeightOnlyConfig(weight_dtype=getattr(torch, "int4"), granularity=PerGroup(32))  # noqa: B009  # unknown to torch's types
        quantize_(layer, Int8WeightOnlyConfig() if bits == 8 else four)
        held: Any = layer.weight
        found: Tensor = held.dequantize()
    return found.to(weight.dtype)


def gguf(weight: Tensor, bits: int) -> Tensor:
    """(rows, columns) as a .gguf file of the type Q4_0 or Q8_0 holds them, by the package that writes such files."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize, quantize

    kind = GGMLQuantizationType[GGUF_TYPES[bits]]
    values = np.ascontiguousarray(weight.detach().float().cpu().numpy())
    return torch.from_numpy(dequantize(quantize(values, kind), kind)).to(weight)


ROUNDED: dict[str, Callable[[Tensor, int], Tensor]] = {
    "bitsandbytes": bitsandbytes,
    "torchao": torchao,
    "gguf": gguf,
}
