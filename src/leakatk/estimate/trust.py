"""Meta-evaluation of metrics: does one tell models that hold the knowledge from those that never did, and hold under attack?

Faithfulness and robustness as in OpenUnlearning (Dorna et al. 2025, arXiv 2506.12618); the symmetric forms are those of the
Unlearning Depth Score's authors. Every value here is of a metric that is higher where more is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from leakatk.errors import InputError
from leakatk.estimate.checks import check_level


@dataclass(frozen=True)
class Faithfulness:
    """The chance that a model which holds the knowledge scores above one that never did; a tie is half a win."""

    value: float
    low: float
    high: float
    holding: int
    never: int


def faithfulness(holding: Sequence[float], never: Sequence[float], *, level: float = 0.95) -> Faithfulness:
    """The area under the ROC curve between two pools of models, with its interval over models.

    holding, never: the metric of each model that was trained on the knowledge, and of each that was not.
    The interval is Newcombe's Wilson-like one (2006, method 5), which says something where the pools do not overlap.
    Raises InputError for an empty pool or a value that is not a number.
    """
    check_level(level)
    a, b = np.asarray(holding, float), np.asarray(never, float)
    if not (a.size and b.size) or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise InputError(
            "Faithfulness needs a number of at least one model that holds the knowledge and one that never did."
        )
    wins = (a[:, None] > b[None, :]).sum() + 0.5 * (a[:, None] == b[None, :]).sum()
    value = float(wins / (a.size * b.size))
    z = float(stats.norm.ppf(0.5 + level / 2))

    def variance(theta: float) -> float:
        pairs = (a.size + b.size) / 2 - 1
        spread = 1 + pairs * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return theta * (1 - theta) * spread / (a.size * b.size)

    def outside(theta: float) -> float:
        return abs(theta - value) - z * math.sqrt(variance(theta))

    inside = min(max(value, 1e-12), 1 - 1e-12)  # at 0 and 1 the value itself is a root too
    low = 0.0 if value <= 0 else float(optimize.brentq(outside, 0.0, inside))
    high = 1.0 if value >= 1 else float(optimize.brentq(outside, inside, 1.0))
    return Faithfulness(value, low, high, a.size, b.size)


def relearning(before: float, after: float, retrained_before: float, retrained_after: float) -> float:
    """How little a metric missed, seen by relearning: min(gain of the retrained model / gain of the unlearned one, 1).

    A metric that called the knowledge gone, while relearning brings back more than the retrained model learns, scores low.
    1 where the unlearned model gains nothing. NaN where a value is.
    """
    mine, theirs = after - before, retrained_after - retrained_before
    if math.isnan(mine) or math.isnan(theirs):
        return math.nan
    return 1.0 if mine <= 0 else min(max(theirs, 0.0) / mine, 1.0)


def quantising(before: float, after: float) -> float:
    """How little a metric missed, seen by rounding the weights: min(before / after, 1).

    1 where nothing is left after it either. NaN where a value is.
    """
    if math.isnan(before) or math.isnan(after):
        return math.nan
    return 1.0 if after <= 0 else min(max(before, 0.0) / after, 1.0)


def relearning_both_ways(before: float, after: float, retrained_before: float, retrained_after: float) -> float:
    """1 - |a - b| / (|a| + |b|) of the two gains: also punishes a metric that falls. 1 where neither moves, NaN where a value is."""
    return _alike(after - before, retrained_after - retrained_before)


def quantising_both_ways(before: float, after: float) -> float:
    """1 - |after - before| / (|before| + |after|): also punishes a metric that falls. 1 where both are 0, NaN where a value is."""
    return _alike(after, before)


def robustness(relearned: float, quantised: float) -> float:
    """The harmonic mean of the two; 0 where one is, NaN where one is."""
    if math.isnan(relearned) or math.isnan(quantised):
        return math.nan
    both = relearned + quantised
    return 0.0 if min(relearned, quantised) <= 0 else 2 * relearned * quantised / both


def _alike(a: float, b: float) -> float:
    if math.isnan(a) or math.isnan(b):
        return math.nan
    size = abs(a) + abs(b)
    return 1.0 if size == 0 else 1 - abs(a - b) / size
