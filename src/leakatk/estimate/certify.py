"""Certificates: upper bounds on leak@k for any leak probabilities, and how many samples a wanted answer costs.

Prompts fixed, samples independent. Nothing leaked: the bound is exact. Anything else: a bound by inverting a test whose
error is bounded for every profile of leak probabilities; conservative, never short.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats
from scipy.special import xlogy

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError
from leakatk.estimate.checks import check_ks, check_level, number, whole_number
from leakatk.estimate.from_probability import leak_from_probability
from leakatk.estimate.graded import graded_variance
from leakatk.estimate.intervals import binary_variance, leak_variance
from leakatk.estimate.mixing import binomial_table
from leakatk.estimate.ustatistic import Scores, leak_of_counts, per_prompt_leak, score_rows

_MOST_COUNTS = 4000  # up to this n, `moment_upper` sums over every count
_MOST_SAMPLES = 1_000_000  # a plan beyond this many samples a prompt is no plan


@dataclass(frozen=True, eq=False)
class Certified:
    """Mean leak@k over these prompts is at most `high`, at confidence `level` (one-sided), for each k by itself.

    k, value, high: (K,); value is the estimate, NaN where k > n (possible only when nothing leaked).
    exact: True when nothing leaked and the bound is the sharp 1 - a^(k / (n m)).
    """

    k: Ints
    value: Floats
    high: Floats
    level: float
    m: int
    exact: bool


def zero_leak_bound(n: int | Sequence[int], m: int, k: int, *, level: float = 0.95) -> float:
    """Upper bound of mean leak@k when none of m prompts leaked in n samples each: 1 - a^(k / (n m)), a = 1 - level.

    It is the largest mean of 1-(1-p_i)^k with prod (1-p_i)^n >= a: concave, so the even split is the worst case. Where
    prompts have their own n, the worst case puts more on those with fewer samples (water filling).
    """
    check_level(level)
    m, k = whole_number("m", m), whole_number("k", k)
    sizes = np.full(m, whole_number("n", n)) if np.ndim(n) == 0 else check_ks(n)
    if sizes.size != m:
        raise InputError(f"{sizes.size} numbers of samples for m={m} prompts; give one for all, or one for each.")
    budget = -math.log1p(-level)  # sum of n_i l_i, where l_i = -log(1 - p_i)
    if sizes.min() == sizes.max():
        return float(-np.expm1(-k * budget / sizes.sum()))
    # Stationary: k exp(-k l_i) = price * n_i wherever l_i > 0; the price is found by bisection.
    low, high = math.log(k) - math.log(sizes.max()) - k * budget / sizes.min() - 1, math.log(k) - math.log(sizes.min())
    for _ in range(200):
        price = (low + high) / 2
        spent = (sizes * np.maximum(0, math.log(k) - np.log(sizes) - price) / k).sum()
        low, high = (price, high) if spent > budget else (low, price)
    shares = np.maximum(0, math.log(k) - np.log(sizes) - low) / k  # `low` overspends by rounding only: conservative
    return float(-np.expm1(-k * shares).mean())


def samples_to_certify(k: int, bound: float, m: int, *, level: float = 0.95) -> int:
    """Samples a prompt after which no leak in m prompts certifies mean leak@k <= bound: ceil(k ln(1/a) / (-m ln(1-e)))."""
    check_level(level)
    m, k = whole_number("m", m), whole_number("k", k)
    bound = number("The bound to certify", bound, above=0, below=1)
    exact = k * -math.log1p(-level) / (m * -math.log1p(-bound))
    if exact > _MOST_SAMPLES:
        raise InputError(
            f"More than {_MOST_SAMPLES:,} samples a prompt would be needed; certify a higher bound, or take more prompts or a smaller k."
        )
    n = max(1, math.ceil(exact))
    # Where rounding lifted a whole number, the smaller n already certifies.
    return n - 1 if n > 1 and zero_leak_bound(n - 1, m, k, level=level) <= bound else n


def certify(
    scores: Scores,
    ks: int | Sequence[int],
    *,
    level: float = 0.95,
    missing: Literal["refuse", "allow"] = "refuse",
) -> Certified:
    """Certified upper bounds of mean leak@k over these prompts, for any scores in [0, 1].

    With at least one score above 0: the U-statistic averages b = floor(n / k) independent blocks a prompt, so
    P(U <= u) <= exp(-m b KL(u, mean leak@k)) for every profile (Hoeffding 1963, theorem 1 and section 5b); the bound is
    the largest mean leak@k that this does not reject. Where k does not divide n, the blocks waste samples and
    `moment_upper` may be lower; the smaller of both holds, as each bounds the same chance. k > n is refused then: see
    `forecast`.
    """
    check_level(level)
    rows, _ = score_rows(scores, missing=missing)
    k = check_ks(ks)
    lowest, highest = min(float(row.min()) for row in rows), max(float(row.max()) for row in rows)
    if lowest < 0 or highest > 1:
        raise InputError(f"Certified bounds need scores in [0, 1], got {lowest:g} .. {highest:g}; rescale them.")
    sizes = [row.size for row in rows]
    if highest == 0:
        value = np.where(k <= min(sizes), 0.0, np.nan)
        high = np.array([zero_leak_bound(sizes, len(rows), int(kk), level=level) for kk in k])
    else:
        value = per_prompt_leak(rows, k).mean(axis=0)
        n, budget = min(sizes), -math.log1p(-level)
        high = kl_upper(value, len(rows) * (n // k), budget)
        for i in np.flatnonzero(n % k) if n <= _MOST_COUNTS else ():
            high[i] = min(high[i], moment_upper(value[i], len(rows), n, int(k[i]), budget))
    return Certified(k=k, value=value, high=high, level=level, m=len(rows), exact=highest == 0)


def kl_upper(value: Floats, trials: Ints, budget: float) -> Floats:
    """The largest t >= value with trials * KL(Bernoulli(value), Bernoulli(t)) <= budget, by bisection."""
    low, high = value.copy(), np.ones_like(value)
    with np.errstate(divide="ignore"):
        for _ in range(60):
            t = (low + high) / 2
            distance = xlogy(value, value) - xlogy(value, t) + xlogy(1 - value, 1 - value) - xlogy(1 - value, 1 - t)
            inside = trials * distance <= budget
            low, high = np.where(inside, t, low), np.where(inside, high, t)
    return high


def moment_upper(value: float, m: int, n: int, k: int, budget: float) -> float:
    """The largest mean leak@k that exponential moments do not reject, when m prompts of n samples gave `value`.

    With psi(p) = log E exp(-x U) for a prompt that leaks with probability p, P(mean U <= value) <= exp(-budget) unless
    sum psi(p_i) >= -budget - m x value. So for every x, s > 0 the mean leak@k is at most the largest, over p, of
    leak@k(p) + s (psi(p) + budget / m + x value), or it is rejected. Both are monotone in p: each cell of a grid is bounded
    by its worse ends. Graded scores are averages of 0/1 scores over thresholds: by Hoelder's inequality their psi is at
    most the average of those. Prompts with more samples average over subsets of n: their psi is lower still.
    """
    half = np.geomspace(min(1e-3, value / 100), 0.5, 800)
    leak = np.concatenate([[0.0], half, 1 - half[-2::-1], [1.0]])
    counts = binomial_table(n, -np.expm1(np.log1p(-leak[:-1]) / k), np.arange(n + 1))
    x = np.geomspace(0.03, 30, 60) * n / k
    psi = np.log(np.maximum(counts @ np.exp(-leak_of_counts(n, np.array([k])) * x), 1e-300))
    slack = np.vstack([np.zeros_like(x), psi]) + budget / m + x * value
    ends = np.append(0.0, leak[1:])[:, None]  # the upper end of each cell, with psi at its lower; and p = 0 itself
    scale = 1 / np.sqrt(-x * np.expm1(-x))  # psi falls from 0 to -x, by a little over 1 - exp(-x) .. x a unit of leak@k
    return min(1.0, *(float((ends + s * scale * slack).max(axis=0).min()) for s in np.geomspace(0.4, 2.5, 30)))


@dataclass(frozen=True, slots=True)
class Plan:
    """What to sample. n: samples a prompt.  samples: n m.  tokens: samples times tokens a sample (None if not given).

    half_width: expected half width over samples at n (None for a certifying plan).  half_width_prompts: what remains
    if the prompts themselves are a sample; no n lowers it.  basis: where the profile of leak probabilities came from.
    """

    k: int
    m: int
    n: int
    samples: int
    tokens: int | None
    level: float
    half_width: float | None
    half_width_prompts: float | None
    basis: str


def plan(
    k: int,
    *,
    m: int,
    half_width: float | None = None,
    certify: float | None = None,
    level: float = 0.95,
    pilot: Scores | None = None,
    tokens_per_sample: float | None = None,
) -> Plan:
    """Samples a prompt needed for a half width of leak@k over samples, or to certify a bound if nothing leaks.

    pilot: scores of a first small run on these or like prompts; without it an assumed profile is used (70% of the
    prompts never leak, 22% leak with 5e-4 .. 5e-2, 8% often), which can be far off: then take a pilot. Where its scores are
    not 0/1, give it at least k samples: beyond them, its largest k stands in.
    """
    check_level(level)
    if (half_width is None) == (certify is None):
        raise InputError("Give either half_width or certify: what is to be planned for?")
    m, k = whole_number("m", m), whole_number("k", k)
    if tokens_per_sample is not None:
        number("tokens_per_sample", tokens_per_sample, above=0)
    width = prompts_width = None
    if certify is not None:
        n, basis = samples_to_certify(k, certify, m, level=level), "nothing leaks"
    else:
        assert half_width is not None
        half_width = number("half_width", half_width, above=0)
        quantile = float(stats.norm.isf((1 - level) / 2))
        width_at, prompts_sd, basis = _width_model(k, m, pilot)
        n = _smallest(lambda size: quantile * width_at(size) <= half_width, k)
        width, prompts_width = quantile * width_at(n), quantile * prompts_sd
    samples = n * m
    return Plan(
        k=k,
        m=m,
        n=n,
        samples=samples,
        tokens=None if tokens_per_sample is None else math.ceil(samples * tokens_per_sample),
        level=level,
        half_width=width,
        half_width_prompts=prompts_width,
        basis=basis,
    )


def _width_model(k: int, m: int, pilot: Scores | None) -> tuple[Callable[[int], float], float, str]:
    """Standard deviation of mean leak@k at n samples over m prompts as a function of n; that of the prompts; a name."""
    ks = np.array([k])
    if pilot is None:
        grid, weights = assumed_profile()
        leak = leak_from_probability(grid, k)
        spread = math.sqrt(max(0.0, float(weights @ leak**2 - (weights @ leak) ** 2)) / m)
        return (
            lambda n: math.sqrt(float(weights @ leak_variance(n, ks, grid)[:, 0]) / m),
            spread,
            "an assumed profile (70% never leak, 22% rarely, 8% often)",
        )
    rows, _ = score_rows(pilot, missing="allow")
    size = min(int(row.size) for row in rows)
    # The spread between prompts at the largest k the pilot has; leak@k of a bounded score spreads by at most 1/2.
    values = per_prompt_leak(rows, min(k, size))[:, 0]
    spread = float(values.std(ddof=1)) / math.sqrt(m) if len(rows) > 1 else math.nan

    return lambda n: math.sqrt(_pilot_variance(rows, k, n) * len(rows) / m), spread, f"a pilot of {len(rows)} prompts"


def _pilot_variance(rows: list[Floats], k: int, n: int) -> float:
    """Variance of mean leak@k over the prompts of a pilot, were they sampled n times each."""
    sizes, ks = np.array([row.size for row in rows]), np.array([k])
    if all(bool(((row == 0) | (row == 1)).all()) for row in rows):
        counts = np.array([int(row.sum()) for row in rows])
        return float(binary_variance(counts, sizes, ks, wanted=np.full(len(rows), n))[0])
    # n times the variance never grows with n (Hoeffding 1948). A k beyond the pilot: its largest k stands in.
    size = min(n, int(sizes.min()))
    known = min(k, size)
    return float(graded_variance([row[:size] for row in rows], np.array([known]))[0]) * (size / n) * (k / known)


def assumed_profile() -> tuple[Floats, Floats]:
    """A made-up but plausible profile of per-prompt leak probabilities: (grid, weights). An assumption, not a finding."""
    rare, often = np.geomspace(5e-4, 5e-2, 40), np.linspace(0.1, 0.9, 40)
    grid = np.concatenate([[0.0], rare, often])
    return grid, np.concatenate([[0.70], np.full(40, 0.22 / 40), np.full(40, 0.08 / 40)])


def _smallest(enough: Callable[[int], bool], start: int) -> int:
    low, high = start - 1, start
    while high > 2 * _MOST_SAMPLES or not enough(high):
        low, high = high, 2 * high
        if low >= _MOST_SAMPLES:
            raise InputError(
                f"More than {_MOST_SAMPLES:,} samples a prompt would be needed; ask for a wider half width or a smaller k."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
