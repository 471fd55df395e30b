"""Settling a gate: how many more samples, or prompts, would put its bound outside the interval.

The answer holds if leak@k is as it was measured: the wanted number is the smallest at which an audit of that size would end
on one side of the bound with a chance of at least `chance`. The next estimate is taken as normal around the measured one, with
the variance that the interval itself uses; it is moved towards the bound by as much as happens with that chance. Our
construction. In simulation (tests/estimate/test_settle.py) 78% to 97% of such audits end where 80% are asked for: where few
leaks were seen, the variance is taken generously.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.checks import check_level, number, whole_number
from leakatk.estimate.curves import Over
from leakatk.estimate.graded import graded_variance
from leakatk.estimate.intervals import (
    certain_prompts,
    certain_samples,
    cluster_deviations,
    correlation_of,
    ends,
    leak_variance,
    sample_variance,
    square_and_add,
)
from leakatk.estimate.mixing import fit_mixing, probability_grid
from leakatk.estimate.ustatistic import Scores, per_prompt_leak, score_rows

MOST_SAMPLES = 100_000  # a prompt; what needs more than this is no advice
MOST_PROMPTS = 1_000_000
_FULL = 1 - 1e-12


def samples_to_settle(
    scores: Scores,
    k: int,
    bound: float,
    *,
    against: Scores | None = None,
    level: float = 0.95,
    chance: float = 0.8,
) -> int | None:
    """Samples a prompt after which the interval over samples would most likely have `bound` outside.

    scores: as in `leak_at_k`, at least k samples of each prompt.
    against: scores of another model on the same prompts, row by row: the difference is then compared with the bound. Both
        models get as many samples.
    chance: of ending on the side of the bound where the estimate lies, if leak@k is as measured.

    None where leak@k lies on the bound, or more than `MOST_SAMPLES` would be needed. InputError as `leak_at_k`.

    >>> samples_to_settle([[0] * 16] * 20, 16, 0.05)
    58
    """
    sides, place, normal, tail = _sides(scores, against, k, bound, level, chance)

    def settled(n: int) -> bool:
        return _settled([side.over_samples(n, tail) for side in sides], np.zeros(1), place, normal)

    return None if _on(sides, place) else _smallest(settled, max(side.n for side in sides) + 1, MOST_SAMPLES)


def prompts_to_settle(
    scores: Scores,
    k: int,
    bound: float,
    *,
    over: Over = "prompts",
    against: Scores | None = None,
    level: float = 0.95,
    clusters: Sequence[Any] | None = None,
    chance: float = 0.8,
) -> int | None:
    """Prompts after which the interval over prompts (or "both") would most likely have `bound` outside.

    The further prompts are taken to be like those measured, in clusters of the same size, with as many samples each.
    Otherwise as `samples_to_settle`; at most `MOST_PROMPTS`.
    """
    if over == "samples":
        raise InputError('More prompts change nothing in an interval over="samples"; use samples_to_settle.')
    sides, place, normal, tail = _sides(scores, against, k, bound, level, chance)
    m = len(sides[0].values)
    for side in sides:
        side.group(clusters, both=over == "both")
    shared = correlation_of(sides[0].values[:, None], sides[-1].values[:, None], clusters)
    correlation = shared if len(sides) > 1 else np.zeros(1)

    def settled(wanted: int) -> bool:
        return _settled([side.over_prompts(wanted, tail) for side in sides], correlation, place, normal)

    return None if _on(sides, place) else _smallest(settled, m + 1, MOST_PROMPTS)


@dataclass(frozen=True)
class _Expected:
    """What an audit of another size would find of one model. interval: of an estimate at another place, (value, low, high)."""

    value: float
    variance: float
    interval: Callable[[float], tuple[Floats, Floats, Floats]]


class _Side:
    """The scores of one model, scaled to [0, 1]."""

    def __init__(self, rows: list[Floats], k: int) -> None:
        self.rows, self.k, self.ks = rows, k, np.array([k])
        self.values = per_prompt_leak(rows, self.ks)[:, 0]
        self.value = float(self.values.mean())
        self.n = min(row.size for row in rows)
        self.seen = min(float(row.min()) for row in rows), max(float(row.max()) for row in rows)
        self.posterior: Floats | None = None
        if all(bool(((row == 0) | (row == 1)).all()) for row in rows):
            sizes = np.array([row.size for row in rows])
            self.grid = probability_grid(int(sizes.max()))
            counts = np.array([int(row.sum()) for row in rows])
            self.posterior = fit_mixing(counts, sizes, self.grid)[1].sum(axis=0)

    def variance(self, n: int) -> float:
        """Of mean leak@k over samples, were each prompt sampled n times."""
        if self.posterior is not None:
            return float(self.posterior @ leak_variance(n, self.ks, self.grid)[:, 0]) / len(self.rows) ** 2
        # n times the variance never grows with n (Hoeffding 1948).
        return float(graded_variance(self.rows, self.ks)[0]) * self.n / n

    def over_samples(self, n: int, tail: float) -> _Expected:
        variance = self.variance(n)
        certain = certain_samples(np.full(len(self.rows), n), self.ks, tail)
        return self._expected(variance, tail, None, certain, self.seen)

    def group(self, clusters: Sequence[Any] | None, *, both: bool) -> None:
        """The variance over prompts (or clusters), as the interval takes it."""
        totals, self.groups = cluster_deviations(self.values[:, None], clusters)
        spread = self.groups / (self.groups - 1) * float((totals**2).sum()) / len(self.values) ** 2
        self.spread = max(spread, float(sample_variance(self.rows, self.ks)[0])) if both else spread

    def over_prompts(self, wanted: int, tail: float) -> _Expected:
        m = len(self.values)
        groups = max(2, self.groups * wanted // m)
        certain = certain_prompts(groups, self.ks, tail)
        seen = float(self.values.min()), float(self.values.max())
        return self._expected(self.spread * m / wanted, tail, groups - 1, certain, seen)

    def _expected(
        self,
        variance: float,
        tail: float,
        degrees: int | None,
        certain: tuple[Floats, Floats],
        seen: tuple[float, float],
    ) -> _Expected:
        if self.value <= 0 or self.value >= _FULL:
            variance = 0.0  # as measured, nothing leaks, or everything does: the next samples say the same

        def interval(value: float) -> tuple[Floats, Floats, Floats]:
            at = np.array([min(max(value, 0.0), 1.0)])
            low, high = ends(
                at, np.array([variance]), tail, degrees, certain=certain, seen=seen, prompts=len(self.rows)
            )
            return at, low, high

        return _Expected(self.value, variance, interval)


def _sides(
    scores: Scores, against: Scores | None, k: int, bound: float, level: float, chance: float
) -> tuple[list[_Side], float, float, float]:
    """Both models' scores and the bound on the same scale, the normal quantile of `chance`, and a tail of the interval."""
    check_level(level)
    k = whole_number("k", k)
    bound = number("The bound", bound)
    chance = number("chance", chance, above=0, below=1)
    every = [score_rows(one, missing="refuse")[0] for one in (scores, against) if one is not None]
    if len({len(rows) for rows in every}) > 1:
        raise InputError(
            f"The model has {len(every[0])} prompts and the other {len(every[1])}; give the same prompts in the same order."
        )
    bottom = min(0.0, min(float(row.min()) for rows in every for row in rows))
    top = max(1.0, max(float(row.max()) for rows in every for row in rows))
    sides = [_Side([(row - bottom) / (top - bottom) for row in rows], k) for rows in every]
    place = (bound - (bottom if against is None else 0.0)) / (top - bottom)
    return sides, place, float(stats.norm.ppf(chance)), (1 - level) / 2


def _difference(values: Sequence[float]) -> float:
    return values[0] - (values[1] if len(values) > 1 else 0.0)


def _on(sides: Sequence[_Side], place: float) -> bool:
    """Whether the estimate lies on the bound: then no number of samples tells."""
    return abs(_difference([side.value for side in sides]) - place) < 1e-12


def _settled(found: Sequence[_Expected], correlation: Floats, place: float, normal: float) -> bool:
    """Whether the bound stays outside when the estimate comes out nearer to it by `normal` standard deviations."""
    value, r = _difference([one.value for one in found]), float(correlation[0])
    covariance = r * float(np.sqrt(found[0].variance * found[-1].variance)) if len(found) > 1 else 0.0
    variances = [one.variance - covariance for one in found]
    spread = float(np.sqrt(max(sum(variances), 0.0)))
    step = (normal if value <= place else -normal) / spread if spread > 0 else 0.0
    signs = (1.0, -1.0)  # the most likely way to such a difference: each moves by its share of the variance
    moved = [
        one.interval(one.value + sign * step * share) for one, share, sign in zip(found, variances, signs, strict=False)
    ]
    low, high = moved[0][1], moved[0][2]
    if len(moved) > 1:
        low, high = square_and_add(moved[0], moved[1], correlation)
    return bool(high[0] <= place) if value <= place else bool(low[0] > place)


def _smallest(enough: Callable[[int], bool], start: int, most: int) -> int | None:
    """The smallest number from `start` on that is enough, if it stays enough; None beyond `most`."""
    low, high = start - 1, start
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
