"""Sampler of a model in training: its weights rounded to the type that it will be measured in, which is also far faster."""

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

TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class RoundedSampler:
    """The native engine on a rounded copy of the weights as they are when it is asked."""

    name = "native"

    def __init__(self, loaded: LoadedModel, dtype: str) -> None:
        self.loaded, self.dtype = loaded, TYPES[dtype]

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once."""
        rounded = copy.deepcopy(self.loaded.model).to(self.dtype).eval()
        yield from NativeSampler(replace(self.loaded, model=rounded)).sample(requests, decoding, seed=seed)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, "rounded": str(self.dtype), **self.loaded.describe()}
