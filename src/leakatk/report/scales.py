"""Scales of the y axis of a chart: linear, and logarithmic with a place of its own for zero."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leakatk.report.content import Curve

HELPS = 20  # a logarithmic axis helps where the smallest positive value is this many times below the top
GAP = 20.0  # pixels between zero and the lowest decade
DEEPEST = 1e-6  # the lowest decade that is drawn


@dataclass(frozen=True)
class Axis:
    """y: value -> pixels from the top.  ticks: (value, label), from below."""

    y: Callable[[float], float]
    ticks: tuple[tuple[float, str], ...]


def linear(top: float, steps: int, bottom: float, head: float) -> Axis:
    """From 0 at `bottom` to `top` at `head`, in so many equal steps."""

    def y(value: float) -> float:
        return bottom - (bottom - head) * min(max(value, 0.0), top) / top

    return Axis(y, tuple((top * step / steps, f"{top * step / steps:.3g}") for step in range(steps + 1)))


def logarithmic(top: float, least: float, bottom: float, head: float) -> Axis:
    """A decade a line, from the one below `least` up to `top`. What is 0 or less stands at `bottom`, set apart by a gap."""
    floor = 10.0 ** math.floor(math.log10(max(least, DEEPEST)) + 1e-9)
    decades = round(math.log10(10.0 ** math.ceil(math.log10(top) - 1e-9) / floor))
    low = bottom - GAP

    def y(value: float) -> float:
        if value <= 0:
            return bottom
        share = math.log10(min(max(value, floor), top) / floor) / math.log10(top / floor)
        return low - (low - head) * share

    lines = [floor * 10.0**step for step in range(decades + 1)]
    lines = [value for value in lines if value <= top * (1 + 1e-9)]
    return Axis(y, ((0.0, "0"), *((value, f"{value:.3g}") for value in lines)))


def least_positive(curves: Sequence[Curve]) -> float:
    """The smallest value above 0 of the curves; NaN without one."""
    return min((v for curve in curves for v in curve.value if math.isfinite(v) and v > 0), default=math.nan)


def log_helps(curves: Sequence[Curve], top: float) -> bool:
    """Whether some values are so small that a linear axis up to `top` hides how they differ."""
    return least_positive(curves) * HELPS < top
