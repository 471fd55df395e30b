"""Precision of training: bf16 products where they are fast, float32 elsewhere; and how much memory a run took."""

from __future__ import annotations

import os
import sys
from functools import cache
from pathlib import Path

import torch
from torch import nn

# Below so many parameters a CPU stays in fp32. On an EPYC core with AVX512-BF16 (4 turns each, 16 x 48 tokens) a step in bf16 was
# 0.75 times as fast with 0.2 million parameters, 1.2 with 0.9, 1.4 with 5, and 1.6 from 17 million on. Models that small
# train in seconds, and so have the same digits on every processor.
SMALLEST = 10_000_000

_FLAGS = {"avx512_bf16", "amx_bf16"}


@cache
def fast_bf16() -> bool:
    """Whether this processor has instructions that multiply bf16: AVX512-BF16 or AMX-BF16."""
    # PyTorch's own questions are private and may go; then the system's list of flags answers.
    asked = [getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")]
    answers = [bool(ask()) for ask in asked if callable(ask)]
    return any(answers) if answers else bool(_FLAGS & _flags())


def _flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def precision_of(dtype: str, model: nn.Module, device: torch.device) -> str:
    """ "bf16" (autocast over the weights as they are) or "fp32": what `TrainSettings.dtype` means for this model here."""
    if dtype != "auto":
        return dtype
    if device.type != "cpu":
        return "bf16" if device.type == "cuda" else "fp32"
    large = sum(parameter.numel() for parameter in model.parameters()) >= SMALLEST
    return "bf16" if large and fast_bf16() else "fp32"


KERNELS = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def keep_few_kernels() -> None:
    """Let oneDNN, which multiplies bf16 on a CPU, keep 64 compiled products and not 1,024, unless the environment says how many.

    Rows of another length make another one, and each holds memory between pieces that are freed: SmolLM2-135M, taught 500 steps of
    TOFU, took 7.8 GB with 1,024 and 5.2 GB with 64; a step took as long. oneDNN reads it at its first product in bf16, so it does
    nothing in a process that has sampled in bf16 before.
    """
    os.environ.setdefault(KERNELS, "64")


def reason(dtype: str, precision: str, model: nn.Module, device: torch.device) -> str:
    """The same as a sentence for people."""
    if dtype != "auto":
        return f"Training in {precision}, as asked."
    if device.type != "cpu":
        return f"Training in {precision} on {device.type}."
    if precision == "bf16":
        return "Training in bf16 (products; weights, gradients and optimiser in float32): this processor multiplies it fast."
    if sum(parameter.numel() for parameter in model.parameters()) < SMALLEST:
        return f"Training in fp32: bf16 gains little below {SMALLEST // 10**6} million parameters."
    return "Training in fp32: this processor has no fast bf16 (AVX512-BF16 or AMX)."


def peak_memory(device: torch.device) -> dict[str, int]:
    """Bytes at most in use so far: "process" (the process's memory, loading included) and, on a GPU, "gpu"; empty where the
    system does not say.
    """
    found: dict[str, int] = {}
    if sys.platform != "win32":
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        found["process"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    if device.type == "cuda":
        found["gpu"] = int(torch.cuda.max_memory_allocated(device))
    return found
