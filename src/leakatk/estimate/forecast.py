"""leak@k beyond the samples drawn, up to k = 10^6 and more: three instruments, never mixed up.

(a) Guaranteed bounds from counts alone: every distribution of per-prompt leak probabilities that the counts of leaking
    samples do not refute, by a linear programme. They widen fast beyond a few n, and that is the truth.
(b) A model-based line: the nonparametric maximum-likelihood mixture carried on to k. Without a guarantee: its bootstrap
    intervals covered .5 to .8 in trials, so it has none here.
(c) Bounds from exact probabilities (`exact`): no confidence is spent on them, and they do not widen with k.

`forecast` gives (a) and (c) together, the tighter on each side by name, and (b) beside them. Our construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linprog
from scipy.stats import beta, binom

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError
from leakatk.estimate.checks import check_ks, check_level, float_array, number, whole_number
from leakatk.estimate.from_probability import ProbabilityBounds, leak_bounds, leak_from_probability
from leakatk.estimate.mixing import fit_mixing, probability_grid
from leakatk.estimate.ustatistic import Scores, score_rows

# Cells of (0, 1] for the linear programme. Each is bounded by its worse end, so the bounds hold for every distribution,
# not for those on a grid; finer cells only tighten them.
_CELLS = 700


@dataclass(frozen=True, eq=False)
class Forecast:
    """Mean leak@k over these prompts, for k below or above the n samples drawn.

    low, high: (K,), hold together for each k with probability at least `level`.  low_by, high_by: "counts" or "exact",
    the instrument that gave each side.  line: (K,), the model-based line; not a bound and not a 95% anything. Where the
    model leaves the bounds it is wrong, and the line runs along them.
    """

    k: Ints
    low: Floats
    high: Floats
    low_by: tuple[str, ...]
    high_by: tuple[str, ...]
    line: Floats
    level: float
    m: int
    n: int


def forecast(
    scores: Scores,
    ks: int | Sequence[int],
    *,
    level: float = 0.95,
    threshold: float | None = None,
    exact: Sequence[ProbabilityBounds] | None = None,
) -> Forecast:
    """The tightest guaranteed interval for leak@k that the data at hand allow, and the model-based line.

    scores: (m, n), 0/1; or any, with `threshold`: a score >= it leaks.  exact: bounds of every prompt's leak
    probability in the order of the scores (`exact.probability_bounds`).
    Raises InputError for scores that are not 0/1, prompts of different n, or bounds for other prompts.
    """
    rows, _ = score_rows(scores)
    k = check_ks(ks)
    check_level(level)
    if threshold is not None:
        least = number("threshold", threshold)
        rows = [(row >= least).astype(float) for row in rows]
    pooled = np.concatenate(rows)
    if not ((pooled == 0) | (pooled == 1)).all():
        raise InputError("A forecast needs 0/1 scores; give threshold, the score from which a sample counts as a leak.")
    if len({row.size for row in rows}) > 1:
        raise InputError("A forecast needs the same number of samples for every prompt; complete the run first.")
    n = rows[0].size
    counts = np.array([int(row.sum()) for row in rows])
    low, high = bounds_from_counts(counts, n, k, level=level)
    low_by, high_by = ["counts"] * k.size, ["counts"] * k.size
    if exact is not None:
        if len(exact) != len(rows):
            raise InputError(f"{len(exact)} exact bounds for {len(rows)} prompts; give one for each, in their order.")
        sure_low, sure_high = leak_bounds(exact, k)
        low_by = ["exact" if better else "counts" for better in sure_low > low]
        high_by = ["exact" if better else "counts" for better in sure_high < high]
        # Counts miss with probability 1 - level at most; exact masses never: where the two exclude each other, these hold.
        refuted = (low > sure_high) | (high < sure_low)
        low_by = ["exact" if one else by for one, by in zip(refuted, low_by, strict=True)]
        high_by = ["exact" if one else by for one, by in zip(refuted, high_by, strict=True)]
        low = np.where(refuted, sure_low, np.maximum(low, sure_low))
        high = np.where(refuted, sure_high, np.minimum(high, sure_high))
    line = np.clip(model_line(counts, n, k), low, high)
    return Forecast(k, low, high, tuple(low_by), tuple(high_by), line, level, len(rows), n)


def model_line(counts: ArrayLike, n: int, ks: int | Sequence[int] | Ints) -> Floats:
    """Mean leak@k under the maximum-likelihood mixture of the counts: (K,). A model, not a bound."""
    c, ks = _check_counts(counts, n), check_ks(ks)
    grid = probability_grid(n)
    weights, _ = fit_mixing(c, np.full(c.size, n), grid, prior=0.0)
    return np.array([weights @ leak_from_probability(grid, int(k)) for k in ks])


def bounds_from_counts(
    counts: ArrayLike, n: int, ks: int | Sequence[int] | Ints, *, level: float = 0.95
) -> tuple[Floats, Floats]:
    """Bounds of mean leak@k over these prompts from the number of leaking samples of each: (K,), (K,).

    For each of a fixed set of thresholds t, the number of prompts with at least t leaks lies in a Clopper-Pearson
    interval around its mean; all hold together with probability >= level (Bonferroni). Prompts with probabilities of
    their own make that number less variable than a binomial one (Hoeffding 1956), so the intervals are conservative for
    fixed prompts. The linear programme then takes the worst distribution of probabilities within all of them.
    """
    check_level(level)
    c, ks = _check_counts(counts, n), check_ks(ks)
    m = c.size
    thresholds, shares = _thresholds(n)
    lower_end, upper_end, at_least = _cells(n)
    constraints, limits = [], []
    for index, (t, share) in enumerate(zip(thresholds, shares, strict=True)):
        tail = (1 - level) * share / 2
        seen = int((c >= t).sum())
        low = beta.ppf(tail, seen, m - seen + 1) if seen else 0.0
        high = beta.isf(tail, seen + 1, m - seen) if seen < m else 1.0
        # A cell reaches the threshold at least as often as at its lower end, at most as often as at its upper end.
        constraints += [at_least[index, 0], -at_least[index, 1]]
        limits += [high, -low]
    rows, bounds = np.array(constraints), np.array(limits)
    lows, highs = [], []
    for k in ks:
        lows.append(_solve(leak_from_probability(lower_end, int(k)), rows, bounds, 1.0))
        highs.append(_solve(leak_from_probability(upper_end, int(k)), rows, bounds, -1.0))
    return np.array(lows), np.array(highs)


def _check_counts(counts: ArrayLike, n: int) -> Ints:
    whole_number("n", n)
    values = float_array("counts", counts)
    if values.ndim != 1 or values.size == 0 or not ((values >= 0) & (values <= n) & (values == np.floor(values))).all():
        raise InputError(f"counts must be one whole number from 0 to n={n} a prompt, got {counts!r:.60}.")
    return values.astype(np.int64)


def _solve(objective: Floats, rows: Floats, limits: Floats, sign: float) -> float:
    """The smallest (sign 1) or largest (sign -1) mean of `objective` over distributions that meet the constraints."""
    found = linprog(
        sign * objective, A_ub=rows, b_ub=limits, A_eq=np.ones((1, objective.size)), b_eq=[1.0], method="highs"
    )
    if found.status != 0:  # refuted by chance (probability below 1 - level), or a solver in trouble: say nothing
        return 0.0 if sign > 0 else 1.0
    return float(np.clip(sign * found.fun, 0.0, 1.0))


def _thresholds(n: int) -> tuple[list[int], Floats]:
    """Counts at which the distribution is pinned down, and the share of the error each may spend.

    The rare leaks decide what happens beyond n: counts of 1, 2 and 3 get most of it.
    """
    ladder = [t for t in (1, 2, 3, 5, 9, 17, 33, 65, 129, 257, 513) if t <= n // 2] or [1]
    ladder = sorted({*ladder, n})
    weights = np.array([6.0 if t == 1 else 4.0 if t <= 3 else 1.0 for t in ladder])
    return ladder, weights / weights.sum()


@cache
def _cells(n: int) -> tuple[Floats, Floats, Floats]:
    """Lower and upper ends of the cells, (G,), and P(at least t of n) at both ends, (T, 2, G)."""
    half = np.geomspace(1e-4 / n, 0.5, _CELLS)
    edges = np.concatenate([[0.0], half, 1 - half[-2::-1], [1.0]])
    low, high = edges[:-1], edges[1:]
    thresholds, _ = _thresholds(n)
    reached = np.array([[binom.sf(t - 1, n, low), binom.sf(t - 1, n, high)] for t in thresholds])
    return low, high, reached
