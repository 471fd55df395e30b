"""Record of a run: what it was, how far it is, and what makes two runs the same run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import weights_hash
from leakatk.progress import format_bytes
from leakatk.prompts import Prompt, check_unique, record
from leakatk.runs.tracking import track
from leakatk.unlearning.method import Method
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.view import REFERENCE

_SCORES = ("forget", "utility")


@dataclass(frozen=True)
class Unlearned:
    """What a run did. log: one record a step (forget and retain loss before weighting, learning rate, gradient norm).
    checks: one record a check; "forget_asked", "retain_asked" and "left_out" where it counted prompts, "work" its cost in
    trained tokens. stopped: why it ended before the last step, "" when it did not. The model itself was changed in place; `out` is
    its directory when one was asked for. notes: sentences a person should see, such as of a damaged checkpoint that was passed
    over. precision: "bf16" or "fp32", in which it trained. peak_memory: bytes at most in use, of the "process" and the "gpu"; of the
    process that ended the run.
    """

    method: str
    params: Mapping[str, Any]
    settings: TrainSettings
    steps: int
    seconds: float
    stopped: str = ""
    below_floor: bool = False
    checks: Sequence[Mapping[str, float]] = ()
    log: Sequence[Mapping[str, float]] = ()
    out: Path | None = None
    notes: Sequence[str] = ()
    precision: str = ""
    peak_memory: Mapping[str, int] = field(default_factory=dict)

    def says(self) -> str:
        """Steps, time, precision and memory in a line: "40 steps in 64 s, bf16, 4.1 GB of memory"."""
        memory = self.peak_memory.get("gpu") or self.peak_memory.get("process") or 0
        parts = [
            f"{self.steps} steps in {self.seconds:.0f} s",
            self.precision,
            f"{format_bytes(memory)} of memory" if memory else "",
        ]
        return ", ".join(part for part in parts if part)

    def as_dict(self) -> dict[str, Any]:
        """For unlearning.json."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "out"}
        return {**values, "settings": self.settings.as_dict(), "params": dict(self.params)}


@dataclass
class Position:
    """How far a run is: what a checkpoint holds besides weights and optimiser."""

    step: int = 0
    """Optimiser steps done, of all stages."""
    seconds: float = 0.0
    stopped: str = ""
    below_floor: bool = False
    log: list[dict[str, float]] = field(default_factory=list)
    checks: list[dict[str, float]] = field(default_factory=list)
    state: dict[str, float] = field(default_factory=dict)
    """Numbers that losses carry from step to step."""
    unit: int = 0
    """Stages done, each round of a Repeat counted."""
    first: int = 0
    """Steps done before the stage of the moment."""
    trained: int = 0
    """Train stages done."""
    ended: list[bool] = field(default_factory=list)
    """What the `until` of Repeat stages said, in order."""
    holds: list[str] = field(default_factory=lambda: [REFERENCE])
    """The teachers whose weights the model has at this moment."""
    kept: dict[str, str] = field(default_factory=dict)
    """What Keep stages have kept: its name, and the name that it has in the store."""

    def stepped(self, row: dict[str, float]) -> None:
        """A step was done: what it says of itself."""
        self.step += 1
        self.log.append({**row, "step": self.step})
        track(row, self.step, "train")

    def checked(self, metrics: Mapping[str, float]) -> None:
        """A check was made: what it found."""
        self.checks.append({"step": self.step, **{name: float(value) for name, value in metrics.items()}})
        track(metrics, self.step, "check")

    def note(self) -> str:
        """The last step in a line, beside a progress bar."""
        last = self.log[-1]
        alone = {"forget": "forget", "retain": "retain" if not math.isnan(last["forget"]) else "loss"}
        parts = [f"{name} {last[key]:.3f}" for key, name in alone.items() if not math.isnan(last[key])]
        if self.checks:
            shown = {key: value for key, value in self.checks[-1].items() if key not in ("step", "work")}
            parts += [
                f"{key} {value:{'.3f' if value % 1 or key in _SCORES else '.0f'}}" for key, value in shown.items()
            ]
        return "  ".join(parts)


def check_data(
    method: Method, forget: Sequence[Prompt], retain: Sequence[Prompt], weights: Sequence[float] | None
) -> None:
    """InputError for a set that the method needs and that is empty or has an id twice, and for bad weights."""
    for side, prompts in (("forget", forget), ("retain", retain)):
        if side in method.sides:
            check_unique(prompts)
    if weights is not None and (len(weights) != len(forget) or min(weights) < 0 or not sum(weights) > 0):
        raise InputError(f"weights must be {len(forget)} numbers >= 0, not all zero; got {len(weights)}.")


def manifest(
    loaded: LoadedModel, forget: Sequence[Prompt], retain: Sequence[Prompt], method: Method, settings: TrainSettings,
    seed: int, weights: Sequence[float] | None, refusals: Sequence[str], alternates: Mapping[str, str] | None,
    reference_weights: Mapping[str, Tensor] | None, known: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """What makes two runs the same run."""
    data = [[record(p) for p in prompts] for prompts in (forget, retain)]
    return {
        "start": weights_hash(loaded.model.state_dict()),
        "model": loaded.name,
        "template": loaded.template.describe(loaded.tokenizer),
        "forget": _digest(data[0]),
        "retain": _digest(data[1]),
        "targets": _digest([list(weights or []), list(refusals), sorted((alternates or {}).items())]),
        "reference": weights_hash(reference_weights) if reference_weights is not None else "start",
        "method": method.name,
        "params": method.identity,
        "settings": settings.as_dict(),
        "seed": seed,
        **({"known": _digest(known)} if known else {}),
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
