"""Models in the type that a study measures them in, and the sampler of a model in training, whose weights are rounded to it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.precision import fast_bf16

TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def in_fast_arithmetic(loaded: LoadedModel) -> LoadedModel:
    """The same weights, in float32 where the processor has no fast bf16: there bf16 takes six times as long."""
    if loaded.device.type == "cpu" and not fast_bf16():
        loaded.model.float()
    return loaded


class RoundedSampler:
    """The native engine on a rounded copy of the weights as they are when it is asked."""

    name = "native"

    def __init__(self, loaded: LoadedModel, dtype: str) -> None:
        self.loaded, self.dtype = loaded, TYPES[dtype]

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once."""
        rounded = replace(self.loaded, model=copy.deepcopy(self.loaded.model).to(self.dtype).eval())
        yield from NativeSampler(in_fast_arithmetic(rounded)).sample(requests, decoding, seed=seed)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, "rounded": str(self.dtype), **self.loaded.describe()}
