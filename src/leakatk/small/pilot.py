"""Pilot of a training run: a few of its own steps, timed, with the memory that they took; and what it needs at least."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
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
    loaded: LoadedModel, prompts: Sequence[Prompt], method: Method, settings: TrainSettings, *, seed: int = 0
) -> Pilot:
    """Train `loaded`, in memory, for a few steps of these settings; the model is not fit for anything else afterwards."""
    times: list[float] = []

    def note(_: LoadedModel, __: int) -> Check:
        times.append(time.perf_counter())
        return Check({})

    short = replace(
        settings, max_steps=STEPS, epochs=None, warmup_epochs=0.0, check_every=1, checkpoint_every=0, keep_adapter=False
    )
    done = unlearn(loaded, (), prompts, method, settings=short, seed=seed, quiet=True, on_check=note)
    memory = done.peak_memory.get("gpu") or done.peak_memory.get("process") or math.nan
    return Pilot((times[-1] - times[0]) / (STEPS - 1), float(memory), done.precision)


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes. memory: what training adds to the loaded model at least, without activations; disk: of one model at most."""

    memory: float
    disk: float


def need_of(loaded: LoadedModel, settings: TrainSettings) -> Need:
    """What a run needs: gradients and two moments of what is trained, and the checkpoints of it."""
    sizes = [parameter.numel() for parameter in loaded.model.parameters()]
    held = sum(parameter.numel() * parameter.element_size() for parameter in loaded.model.parameters())
    if settings.tuning == "lora":  # an adapter is a few per cent of the weights
        return Need(0.0, 0.1 * held)
    whole = 4.0 * sum(sizes)
    copies = 1 + (3 * KEPT if settings.checkpoint_every else 0)  # a checkpoint has the weights and two moments
    return Need(4 * whole - held, copies * whole)


def check_room(loaded: LoadedModel, settings: TrainSettings, out: Path) -> None:
    """InputError, before anything is trained, where memory or disk do not hold what is needed at least."""
    import psutil

    need = need_of(loaded, settings)
    if loaded.device.type == "cuda":
        free = float(torch.cuda.mem_get_info(loaded.device)[0])
    else:
        free = float(psutil.virtual_memory().available)
    if need.memory > free:
        raise InputError(
            f"Training all weights of {loaded.name} takes at least {_gb(need.memory)} more memory and {_gb(free)} are free; train an "
            "adapter (--lora), or take a larger machine."
        )
    place = out.resolve()
    while not place.exists():
        place = place.parent
    room = float(shutil.disk_usage(place).free)
    if need.disk > room:
        raise InputError(
            f"The model with its checkpoints takes up to {_gb(need.disk)} of disk and {_gb(room)} are free at {place}; free some space, "
            "or leave checkpoints out (--checkpoint-every 0)."
        )


def _gb(count: float) -> str:
    return f"{count / 1e9:.1f} GB"
