"""Curves, the results of the estimators: leak@k, or its excess over a retrained model, for several k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leakatk.arrays import Floats, Ints

Over = Literal["samples", "prompts", "both"]


@dataclass(frozen=True, eq=False)
class LeakCurve:
    """leak@k for several k, with an interval that says what it is over.

    k, value, low, high: (len(k),).  per_prompt: (m, len(k)), rows in the order of the scores.
    over: "samples" (other samples of these prompts), "prompts" (other prompts), "both".  level: of the two-sided interval.
    m: prompts.  n: samples a prompt, a tuple where prompts differ.  missing: scores that were NaN and left out.
    """

    k: Ints
    value: Floats
    low: Floats
    high: Floats
    per_prompt: Floats
    over: Over
    level: float
    m: int
    n: int | tuple[int, ...]
    missing: int


@dataclass(frozen=True, eq=False)
class ExcessCurve:
    """leak@k of a model minus leak@k of a reference, paired by prompt. Fields as in `LeakCurve`; values in [-1, 1]."""

    k: Ints
    value: Floats
    low: Floats
    high: Floats
    per_prompt: Floats
    over: Over
    level: float
    m: int
    model: LeakCurve
    reference: LeakCurve
