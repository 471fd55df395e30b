"""Trackers of experiments, through accelerate: TensorBoard, trackio, W&B, MLflow. Numbers and settings alone, never a prompt.

    with tracked(["tensorboard"], Path("models/npo"), {"method": "npo"}):
        unlearn(...)

Whoever has a number calls `track`, which does nothing where no tracker is on. The axis is the number of steps trained so far; a
training that follows another in one command goes on where that ended (`go_on`).
"""

from __future__ import annotations

import inspect
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, UnknownNameError, first_line

PROJECT = "leakatk"
# Name -> what installs it.
TRACKERS = {
    "tensorboard": "'leak-at-k[track]'",
    "trackio": "'leak-at-k[track]'",
    "wandb": "wandb",
    "mlflow": "mlflow",
}


class Tracking:
    """The trackers of one command. base: steps of trainings that are over."""

    def __init__(self, trackers: dict[str, Any]) -> None:
        self.trackers = trackers
        self.base = self.last = 0
        self.prefix = ""

    def log(self, values: Mapping[str, float], step: int) -> None:
        self.last = max(self.last, step)
        for name, tracker in list(self.trackers.items()):
            try:
                with redirect_stdout(sys.stderr):
                    tracker.log({_allowed(key, name): value for key, value in values.items()}, step=step)
            except Exception as error:  # a tracker is no reason to lose a training
                del self.trackers[name]
                sys.stderr.write(
                    f"Note: tracker {name} failed ({type(error).__name__}: {first_line(error)}); the run goes on without it.\n"
                )


def _allowed(key: str, tracker: str) -> str:
    """The name of a number as the tracker takes it: MLflow refuses most signs."""
    return re.sub(r"[^\w\-./: ]", "_", key.replace("@", "_at_")) if tracker == "mlflow" else key


_active: Tracking | None = None


def check_trackers(names: Sequence[str]) -> None:
    """UnknownNameError for an unknown tracker, InputError for one that is not installed or given twice."""
    for name in names:
        if name not in TRACKERS:
            raise UnknownNameError("tracker", name, TRACKERS)
        if not _installed(name):
            raise InputError(f"--track {name} needs the package {name}: run pip install {TRACKERS[name]}.")
    if len(set(names)) < len(names):
        raise InputError(f"--track names a tracker twice: {', '.join(names)}.")


def _installed(name: str) -> bool:
    found = find_spec(name)
    return (
        found is not None and found.origin is not None
    )  # a folder of that name, such as TensorBoard's files, has none


@contextmanager
def tracked(names: Sequence[str], out: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Trackers are on meanwhile, for a run that is named after the directory `out`.

    TensorBoard's files go to the directory `tensorboard` beside `out`, a folder a run; the others keep theirs where they always do.

    Raises what `check_trackers` raises.
    """
    global _active
    check_trackers(names)
    if not names:
        yield
        return
    found, before = Tracking({}), _active
    out = out.resolve()
    for name in names:
        if (tracker := _started(name, out, settings)) is not None:
            found.trackers[name] = tracker
    _active = found
    try:
        yield
    finally:
        _active = before
        for name, tracker in found.trackers.items():
            try:
                with redirect_stdout(sys.stderr):
                    tracker.finish()
            except Exception as error:
                sys.stderr.write(f"Note: tracker {name} did not end well ({first_line(error)}).\n")


def _started(name: str, out: Path, settings: Mapping[str, Any]) -> Any:
    """The tracker; None in every process but the main one."""
    from accelerate import Accelerator

    plain = {
        key: value if isinstance(value, str | int | float | bool) else json.dumps(value, default=str)
        for key, value in settings.items()
    }
    files = name == "tensorboard"
    every: dict[str, dict[str, Any]] = {
        "trackio": {"name": out.name, "resume": "allow", "auto_log_cpu": False, "auto_log_gpu": False},
        "wandb": {"name": out.name, "dir": str(out.parent)},
        "mlflow": {"run_name": out.name},
    }
    more = every.get(name, {})
    if name == "trackio":
        takes = inspect.signature(import_module(name).init).parameters
        more = {key: value for key, value in more.items() if key in takes}
    try:
        with redirect_stdout(sys.stderr):
            accelerator = Accelerator(
                device_placement=False, log_with=[name], project_dir=str(out.parent / "tensorboard")
            )
            # Of TensorBoard accelerate would put the settings into a run of their own.
            accelerator.init_trackers(
                out.name if files else PROJECT,
                config=None if files else plain,
                init_kwargs={name: more} if more else {},
            )
            if not accelerator.is_main_process:
                return None
            [tracker] = accelerator.trackers
            if files:
                tracker.log({"settings": json.dumps(plain, indent=1)}, step=0)
    except Exception as error:
        raise InputError(f"Tracker {name} does not start ({type(error).__name__}: {first_line(error)}).") from error
    return tracker


def track(values: Mapping[str, Any], step: int, part: str) -> None:
    """Log numbers as PART/NAME at a step of the training of the moment. What is no finite number is left out."""
    if _active is None:
        return
    start = f"{_active.prefix}{part}"
    known = {
        f"{start}/{name}": float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and name != "step"
    }
    if known:
        _active.log(known, _active.base + step)


def go_on(steps: int | None = None) -> None:
    """A further training begins. steps: those trained before it; default: up to the last that was logged."""
    if _active is not None:
        _active.base = _active.last if steps is None else steps


@contextmanager
def under(prefix: str) -> Iterator[None]:
    """What is logged meanwhile is called PREFIX/PART/NAME."""
    tracking = _active
    if tracking is None:
        yield
        return
    before, tracking.prefix = tracking.prefix, f"{tracking.prefix}{prefix}/"
    try:
        yield
    finally:
        tracking.prefix = before


def track_audit(results: Mapping[str, Any]) -> None:
    """leak@k of an audit: a curve a scorer, whose step is k, with its interval over samples."""
    if _active is None:
        return
    go_on(0)
    for scorer, block in results["scorers"].items():
        named = scorer.replace(":", "-").replace(",", "-")
        curve = block["curves"]["samples"]
        for k, value, low, high in zip(curve["k"], curve["value"], curve["low"], curve["high"], strict=True):
            track({"leak": value, "low": low, "high": high}, int(k), f"leak@k/{named}")
        track({"greedy": block.get("greedy"), "retain": block.get("retain")}, 0, f"audit/{named}")
