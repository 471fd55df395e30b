"""Pilot of a training run: a few of its own steps, timed, with the memory that they took; and the disk it needs."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.progress import format_bytes
from leakatk.prompts import Prompt
from leakatk.unlearning.checkpoint import KEPT
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import unlearn

STEPS = 3  # the first pays for what later ones find ready, and is not timed


@dataclass(frozen=True, slots=True)
class Pilot:
    """What training takes on this machine. seconds: of one step; memory: bytes, the peak of the GPU or else of this process,
    NaN where the system does not say; precision: of the multiplications.
    """

    seconds: float
    memory: float
    precision: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def training_pilot(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    method: Method,
    settings: TrainSettings,
    *,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Pilot:
    """Train `loaded`, in memory, for a few steps of these settings; the model is not fit for anything else afterwards.

    clock: `time.process_time` for what one thread would take if nothing else ran.
    """
    times: list[float] = []

    def note(_: LoadedModel, __: int) -> Check:
        times.append(clock())
        return Check({})

    short = replace(
        settings, max_steps=STEPS, epochs=None, warmup_epochs=0.0, check_every=1, checkpoint_every=0, keep_adapter=False
    )
    done = unlearn(loaded, (), prompts, method, settings=short, seed=seed, quiet=True, on_check=note)
    memory = done.peak_memory.get("gpu") or done.peak_memory.get("process") or math.nan
    return Pilot((times[-1] - times[0]) / (STEPS - 1), float(memory), done.precision)


def disk_of(loaded: LoadedModel, settings: TrainSettings) -> float:
    """Bytes of disk that one model takes at most, with its checkpoints."""
    if settings.tuning == "lora":  # an adapter is a few per cent of the weights
        return 0.1 * float(sum(one.numel() * one.element_size() for one in loaded.model.parameters()))
    copies = 1 + (3 * KEPT if settings.checkpoint_every else 0)  # a checkpoint has the weights and two moments
    return 4.0 * copies * float(sum(one.numel() for one in loaded.model.parameters()))


def check_disk(loaded: LoadedModel, settings: TrainSettings, out: Path, models: int) -> None:
    """InputError, before anything is trained, where the disk does not hold so many models with the checkpoints of one."""
    need = disk_of(loaded, settings) + (models - 1) * disk_of(loaded, replace(settings, checkpoint_every=0))
    place = out.resolve()
    while not place.exists():
        place = place.parent
    free = float(shutil.disk_usage(place).free)
    if need > free:
        raise InputError(
            f"{models} models with their checkpoints take up to {format_bytes(need)} of disk and {format_bytes(free)} are free at {place}; free some "
            "space, or leave checkpoints out (--checkpoint-every 0)."
        )
