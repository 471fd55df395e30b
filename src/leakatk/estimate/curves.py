"""Curves, the results of the estimators: leak@k, or its excess over a retrained model, for several k."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from leakatk.arrays import Floats, Ints
from leakatk.estimate.plotting import axes_for, draw_curve
from leakatk.text import bound, html_table, number

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

    def _repr_html_(self) -> str:
        return _table(self, "leak@k")

    def plot(self, ax: Any = None, *, label: str = "") -> Any:
        """Draw it on matplotlib's axes, new ones where none are given; returns them (extra plots)."""
        ax = axes_for(ax)
        draw_curve(ax, self.k, self.value, self.low, self.high, label=label)
        return ax


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

    def _repr_html_(self) -> str:
        return _table(self, "excess@k")

    def plot(self, ax: Any = None, *, label: str = "") -> Any:
        """Draw it on matplotlib's axes, new ones where none are given; returns them (extra plots)."""
        ax = axes_for(ax)
        draw_curve(ax, self.k, self.value, self.low, self.high, label=label, y_name="excess@k")
        return ax


def _table(curve: LeakCurve | ExcessCurve, name: str) -> str:
    """The curve as a table of HTML."""
    ends = zip(curve.k, curve.value, curve.low, curve.high, strict=True)
    rows = [(f"{int(k):,}", number(float(v)), f"{bound(float(a))} to {bound(float(b))}") for k, v, a, b in ends]
    return html_table(("k", name, f"{curve.level:.0%} interval over {curve.over}"), rows)
