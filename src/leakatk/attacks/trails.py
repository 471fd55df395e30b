"""Trails: one run of an attack, measured at several step counts without beginning again for each."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

PLACE = ".trail"  # under the directory of the ladder; gone when the points are measured


class Trail:
    """What the points of one run leave to each other: the weights at each of `stops`, on disk."""

    def __init__(self, place: Path, stops: Sequence[int]) -> None:
        self.place, self.stops = place, sorted(set(stops))

    @property
    def last(self) -> int:
        return self.stops[-1]

    @property
    def every(self) -> int:
        """Steps between looks at the run such that no stop is missed."""
        return math.gcd(*self.stops)

    def keep(self, step: int, model: nn.Module) -> None:
        """Keep the weights of the moment, an adapter's share put into those that it belongs to."""
        if step in self.stops:
            self.place.mkdir(parents=True, exist_ok=True)
            save_file(merged(model), self._file(step))

    def read(self, step: int) -> Mapping[str, Tensor] | None:
        """The weights at that step; None where the run has not come there."""
        return load_file(self._file(step)) if self._file(step).exists() else None

    def _file(self, step: int) -> Path:
        return self.place / f"step-{step}.safetensors"


@torch.no_grad()
def merged(model: nn.Module) -> dict[str, Tensor]:
    """Parameters by the names that they have without an adapter; a weight with an adapter holds its share, as merging gives it."""
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    found: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            continue
        holder: Any = layers.get(name.rpartition(".base_layer.")[0])
        value = parameter.detach()
        if holder is not None and name.endswith("base_layer.weight"):
            value = value + holder.get_delta_weight(holder.active_adapters[0])
        found[name.replace(".base_layer.", ".")] = value.cpu().clone().contiguous()
    return found
