"""Requests to forget that come one after the other: each is a run of its own, from where the last one ended."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.unlearning.method import Method
from leakatk.unlearning.record import Unlearned
from leakatk.unlearning.trainer import unlearn


def in_turn(
    loaded: LoadedModel,
    requests: Sequence[Sequence[Prompt]],
    retain: Sequence[Prompt],
    method: str | Method,
    *,
    out: str | Path | None = None,
    **options: Any,
) -> list[Unlearned]:
    """Unlearn one forget set after the other, in place; a record for each.

    theta_t = method(theta_{t-1}, request t): the reference of each run, and other answers drawn from its set, are its own.
    out: a directory in which request t gets request-00t; a killed sequence goes on in the run where it was.
    options: those of `unlearn`, the same for each.  Errors as there; InputError without a request.

    >>> from leakatk import load_model, load_prompts
    >>> prompts = load_prompts("forget.jsonl")
    >>> settings = TrainSettings(max_steps=1)
    >>> len(in_turn(load_model("models/mine"), [prompts[:2], prompts[2:]], [], "ga", settings=settings, quiet=True))
    2
    """
    if not requests:
        raise InputError("There is no request; give at least one set of forget prompts.")
    done = []
    for number, forget in enumerate(requests, 1):
        place = None if out is None else Path(out) / f"request-{number:03d}"
        done.append(unlearn(loaded, forget, retain, method, out=place, **options))
    return done
