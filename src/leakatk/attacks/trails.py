"""Trails: one run of an attack, measured at several step counts without beginning again for each."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from leakatk.attacks.base import Alter, Attack

if TYPE_CHECKING:
    from leakatk.attacks.rungs import Rung

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


def groups_of(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """The rungs by trail, in the order of their first ones; one without a trail is alone."""
    groups: dict[object, list[Rung]] = {}
    for number, rung in enumerate(rungs):
        key = _trail_of(rung.attack)
        groups.setdefault(key or number, []).append(rung)
    return list(groups.values())


def _trail_of(attack: Attack | None) -> str:
    return attack.trail if isinstance(attack, Alter) else ""


@contextmanager
def trail_of(group: Sequence[Rung], out: Path) -> Iterator[Trail | None]:
    """The trail of rungs that share one; None for a rung alone. What it kept is gone afterwards."""
    stops = [rung.attack.point for rung in group if isinstance(rung.attack, Alter)]
    if len(stops) < 2:
        yield None
        return
    place = out / PLACE
    shutil.rmtree(place, ignore_errors=True)  # of a command that was killed
    try:
        yield Trail(place, stops)
    finally:
        shutil.rmtree(place, ignore_errors=True)
