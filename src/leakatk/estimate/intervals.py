"""Intervals for mean leak@k, over samples (prompts fixed), over prompts, or both.

Over samples. Above k = n/2 no unbiased estimate of the variance of a U-statistic exists, and the jackknife gives 0 at
k = n. So: estimate the mixing distribution of the per-prompt leak probabilities (`mixing`), average Var(U | p) over each
prompt's posterior, and sum: our construction. Other scores: `graded`.

Over prompts. The prompts are a sample, so the variance of the mean is the spread of the per-prompt values (or of their
cluster totals); this spread already contains the sample noise of each. "both" is that, or the sample noise alone where
the latter is larger.

All three turn (estimate, variance) into bounds by the method of Korn and Graubard (1998) for surveys: Clopper-Pearson with
the effective number of trials value (1 - value) / variance, which respects [0, 1] and is skewed as it should be near 0
and 1; and each is at least as wide as what is certain when nothing, or everything, leaked.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError
from leakatk.estimate.from_probability import leak_from_probability
from leakatk.estimate.graded import graded_variance
from leakatk.estimate.mixing import binomial_table, fit_mixing, probability_grid
from leakatk.estimate.ustatistic import leak_of_counts

if TYPE_CHECKING:
    from leakatk.estimate.curves import LeakCurve, Over


_FULL = 1 - 1e-12  # a mean of ones, up to rounding
_FULL_TABLE = 4000  # up to this n, Var(U | p) sums over every count


def interval(
    rows: Sequence[Floats],
    ks: Ints,
    per_prompt: Floats,
    *,
    over: Over,
    level: float,
    clusters: Sequence[Any] | None = None,
) -> tuple[Floats, Floats]:
    """(low, high), each (K,), of the mean of `per_prompt` (m, K). rows: the scores of each prompt, no NaN."""
    bottom = min(0.0, min(float(row.min()) for row in rows))
    top = max(1.0, max(float(row.max()) for row in rows))
    unit = [(row - bottom) / (top - bottom) for row in rows]
    values = (per_prompt - bottom) / (top - bottom)
    low, high = _unit_interval(unit, ks, values, over=over, level=level, clusters=clusters)
    return bottom + (top - bottom) * low, bottom + (top - bottom) * high


def _unit_interval(
    rows: Sequence[Floats],
    ks: Ints,
    values: Floats,
    *,
    over: Over,
    level: float,
    clusters: Sequence[Any] | None,
) -> tuple[Floats, Floats]:
    mean = values.mean(axis=0)
    tail = (1 - level) / 2
    seen: tuple[Any, Any]
    if over == "samples":
        variance, degrees = sample_variance(rows, ks), None
        certain = certain_samples(np.array([row.size for row in rows]), ks, tail)
        seen = min(float(row.min()) for row in rows), max(float(row.max()) for row in rows)
    else:
        totals, groups = cluster_deviations(values, clusters)
        variance = groups / (groups - 1) * (totals**2).sum(axis=0) / len(values) ** 2
        if over == "both":
            variance = np.maximum(variance, sample_variance(rows, ks))
        degrees = groups - 1
        certain = certain_prompts(groups, ks, tail)
        seen = values.min(axis=0), values.max(axis=0)
    return ends(mean, variance, tail, degrees, certain=certain, seen=seen, prompts=len(rows))


def ends(
    mean: Floats,
    variance: Floats,
    tail: float,
    degrees: int | None,
    *,
    certain: tuple[Floats, Floats],
    seen: tuple[Any, Any],
    prompts: int,
) -> tuple[Floats, Floats]:
    """(low, high), each (K,), of means in [0, 1] with these variances, and with what lies beyond everything seen.

    degrees: of freedom of the variance; None for intervals over samples.
    certain: (lowest, highest) mean that all, or none, of the draws leaking leaves open.
    seen: the smallest and the largest score, or value of a prompt.
    """
    (floor, ceiling), (seen_low, seen_high) = certain, seen
    low, high = effective_trials_interval(mean, variance, tail, degrees)
    # What lies beyond everything seen: a share `ceiling` of it could still be out there, up to a score of 1 (or down to 0).
    low = np.minimum(low, mean - seen_low * (1 - floor))
    if degrees is None and seen_low < 1:
        # Every prompt reached the top (k near n). Each did so with a chance of at most its leak@k, and the product of
        # these chances is at least `tail`, so their mean is at least its m-th root.
        low = np.where(mean >= _FULL, np.minimum(low, tail ** (1 / prompts)), low)
    high = np.maximum(high, mean + (1 - seen_high) * ceiling)
    return np.clip(low, 0, mean), np.clip(high, mean, 1)


def effective_trials_interval(
    mean: Floats, variance: Floats, tail: float, degrees: int | None = None
) -> tuple[Floats, Floats]:
    """Clopper-Pearson with N = mean (1-mean) / variance trials and N mean successes, neither of them whole numbers.

    degrees: of freedom of the variance; N then shrinks by (z/t)^2. Where the variance or the mean is 0, or the
    mean is 1, the width is 0: `_unit_interval` adds what is certain there.
    """
    shrink = 1.0 if degrees is None else float(stats.norm.isf(tail) / stats.t.isf(tail, degrees)) ** 2
    low, high = mean.copy(), mean.copy()
    # At 0 and 1 there are no trials to speak of: the bounds of what is certain, added by the caller, are all there is.
    open_ = (variance > 0) & (mean > 1e-12) & (mean < 1 - 1e-12)
    centre = mean[open_]
    # Beyond 10^12 trials the quantiles of the beta distribution are no longer reliable; nor does it matter.
    trials = np.minimum(shrink * centre * (1 - centre) / variance[open_], 1e12)
    low[open_] = stats.beta.ppf(tail, trials * centre, trials * (1 - centre) + 1)
    high[open_] = stats.beta.isf(tail, trials * centre + 1, trials * (1 - centre))
    return low, high


def share_interval(hits: int, trials: int, level: float) -> tuple[float, float]:
    """(low, high) of a probability of which `hits` of `trials` independent draws came true (Clopper & Pearson 1934).

    Certain to hold with at least `level`; (0, 1) where there are no draws.
    """
    if not 0 <= hits <= trials or not 0 < level < 1:
        raise InputError(f"A share needs 0 <= hits <= trials and a level in (0, 1), got {hits}, {trials} and {level}.")
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, trials - hits + 1)) if hits else 0.0
    high = float(stats.beta.isf(tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def sample_variance(rows: Sequence[Floats], ks: Ints) -> Floats:
    """Variance of mean leak@k over the samples, prompts fixed: (K,). rows: scores in [0, 1] of each prompt."""
    if all(bool(((row == 0) | (row == 1)).all()) for row in rows):
        sizes = np.array([row.size for row in rows])
        return binary_variance(np.array([int(row.sum()) for row in rows]), sizes, ks, wanted=sizes)
    return graded_variance(rows, ks)


def binary_variance(counts: Ints, trials: Ints, ks: Ints, *, wanted: Ints) -> Floats:
    """The same from the leaks of each prompt, (m,), in its `trials`, for a run of `wanted` samples a prompt."""
    grid = probability_grid(int(trials.max()))
    _, posterior = fit_mixing(counts, trials, grid)
    total = np.zeros(ks.size)
    for n in np.unique(wanted):
        total += posterior[wanted == n].sum(axis=0) @ leak_variance(int(n), ks, grid)
    return total / len(counts) ** 2


def leak_variance(n: int, ks: Ints, grid: Floats) -> Floats:
    """Var(U) of a prompt that leaks with probability p in each of n samples: (len(grid), K)."""
    truth = leak_from_probability(grid[:, None], ks[None, :])
    if n <= _FULL_TABLE:
        counts = np.arange(n + 1)
        second = binomial_table(n, grid, counts) @ leak_of_counts(n, ks) ** 2
    else:  # the same sum over about 400 counts within 8 standard deviations
        second = np.empty_like(truth)
        curves = [leak_of_counts(n, ks[i : i + 1])[:, 0] for i in range(ks.size)]
        for g, p in enumerate(grid):
            reach = 8 * np.sqrt(n * p * (1 - p)) + 20
            counts = np.arange(max(0, int(n * p - reach)), min(n, int(n * p + reach)) + 1)
            counts = counts[:: max(1, counts.size // 400)]
            chance = binomial_table(n, np.array([p]), counts)[0]
            second[g] = [chance @ curve[counts] ** 2 for curve in curves]
    return np.maximum(second - truth**2, 0)


def certain_samples(trials: Ints, ks: Ints, tail: float) -> tuple[Floats, Floats]:
    """(lowest, highest) mean leak@k that all, or none, of the samples leaking has a chance of at least `tail`."""
    m, n, k = trials.size, float(trials.min()), ks.astype(float)
    ceiling = -np.expm1(k * np.log(tail) / (n * m))
    # All leak: prod p_i^n >= tail. The doubt 1 - p may sit in one prompt, or be shared by j of them.
    j = np.arange(1, m + 1)
    doubt = -np.expm1(np.log(tail) / (n * j))
    floor = (1 - j[:, None] / m * doubt[:, None] ** k[None, :]).min(axis=0)
    return floor, ceiling


def certain_prompts(groups: int, ks: Ints, tail: float) -> tuple[Floats, Floats]:
    """The same for other prompts: the value of each of `groups` prompts (or clusters) at the bottom, or at the top."""
    ceiling = np.full(ks.size, -np.expm1(np.log(tail) / groups))
    return 1 - ceiling, ceiling


def cluster_deviations(values: Floats, clusters: Sequence[Any] | None) -> tuple[Floats, int]:
    """Deviations from the mean summed by cluster, (G, K), and G."""
    deviations = values - values.mean(axis=0)
    if clusters is None:
        totals = deviations
    else:
        if not isinstance(clusters, Iterable) or not all(isinstance(name, Hashable) for name in clusters):
            raise InputError(f"clusters must be a list of one label a prompt (text or numbers), got {clusters!r:.60}.")
        if len(clusters) != len(values):
            raise InputError(f"{len(clusters)} cluster labels for {len(values)} prompts; give one label a prompt.")
        names: dict[Any, int] = {}
        index = np.array([names.setdefault(name, len(names)) for name in clusters])
        totals = np.zeros((len(names), values.shape[1]))
        np.add.at(totals, index, deviations)
    if len(totals) < 2:
        raise InputError(
            "An interval over prompts needs at least 2 prompts (or clusters), got 1; "
            'use over="samples" to speak of this prompt alone.'
        )
    return totals, len(totals)


def difference_interval(
    model: LeakCurve, reference: LeakCurve, *, clusters: Sequence[Any] | None = None
) -> tuple[Floats, Floats]:
    """Interval of model - reference from the two intervals: the square-and-add method (Zou and Donner 2008).

    Over samples the two runs are independent; over prompts they share the prompts, hence the correlation.
    """
    correlation = np.zeros(model.k.size)
    if model.over != "samples":
        correlation = correlation_of(model.per_prompt, reference.per_prompt, clusters)
    return square_and_add(
        (model.value, model.low, model.high), (reference.value, reference.low, reference.high), correlation
    )


def correlation_of(model: Floats, reference: Floats, clusters: Sequence[Any] | None) -> Floats:
    """(K,) correlation over the prompts, or clusters, of two (m, K) tables; 0 where one of them does not vary."""
    a, _ = cluster_deviations(model, clusters)
    b, _ = cluster_deviations(reference, clusters)
    scale = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
    return np.asarray(np.divide((a * b).sum(axis=0), scale, out=np.zeros(scale.size), where=scale > 0))


def square_and_add(
    model: tuple[Floats, Floats, Floats], reference: tuple[Floats, Floats, Floats], correlation: Floats
) -> tuple[Floats, Floats]:
    """(low, high) of a difference from the (value, low, high) of both."""
    (a, a_low, a_high), (b, b_low, b_high) = model, reference

    def reach(first: Floats, second: Floats) -> Floats:
        return np.sqrt(np.maximum(first**2 + second**2 - 2 * correlation * first * second, 0))

    return a - b - reach(a - a_low, b_high - b), a - b + reach(a_high - a, b - b_low)
