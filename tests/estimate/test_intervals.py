"""Intervals of leak@k: against enumeration, Clopper-Pearson and what is certain."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from leakatk.errors import InputError
from leakatk.estimate.intervals import (
    binary_variance,
    difference_interval,
    effective_trials_interval,
    interval,
    leak_variance,
    sample_variance,
    share_interval,
)
from leakatk.estimate.leak import leak_at_k
from leakatk.estimate.ustatistic import leak_of_counts, per_prompt_leak

MATRIX = hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


@settings(deadline=None, max_examples=40)
@given(MATRIX, st.sampled_from(["samples", "prompts", "both"]))
def test_intervals_hold_the_estimate_and_stay_in_range(scores: np.ndarray, over: str) -> None:
    if over != "samples" and len(scores) == 1:
        with pytest.raises(InputError, match="at least 2 prompts"):
            leak_at_k(scores, [1], over=over)
        return
    curve = leak_at_k(scores, range(1, scores.shape[1] + 1), over=over)
    assert (curve.low >= 0).all()
    assert (curve.low <= curve.value).all()
    assert (curve.value <= curve.high).all()
    assert (curve.high <= 1).all()
    assert (curve.high > curve.low).all()


def test_every_prompt_leaked_is_no_certainty() -> None:
    """At k = n the estimate is 1; another n samples could miss: prod P(leak) >= a/2 bounds the mean from below."""
    scores = np.zeros((10, 50))
    scores[:, 0] = 1
    curve = leak_at_k(scores, 50)
    assert curve.value[0] == 1
    assert curve.low[0] == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_variance_of_a_prompt_against_every_outcome(n: int) -> None:
    """All 2^n runs of n samples, with their chances."""
    ks = np.arange(1, n + 1)
    for p in (0.0, 0.03, 0.4, 1.0):
        runs = np.array(list(product((0, 1), repeat=n)), dtype=float)
        chance = np.prod(np.where(runs == 1, p, 1 - p), axis=1)
        values = per_prompt_leak(runs, ks)
        mean = chance @ values
        variance = chance @ (values - mean) ** 2
        np.testing.assert_allclose(leak_variance(n, ks, np.array([p]))[0], variance, atol=1e-12)


def test_the_variance_of_many_samples_is_that_of_the_full_sum() -> None:
    """Above 4,000 samples a part of the counts stands for all."""
    n, ks, grid = 4001, np.array([1, 64, 2000, 4001]), np.array([1e-5, 1e-3, 0.02, 0.5, 0.999])
    found = leak_variance(n, ks, grid)
    counts = np.arange(n + 1)
    curve = leak_of_counts(n, ks)
    for g, p in enumerate(grid):
        chance = stats.binom.pmf(counts, n, p)
        mean = chance @ curve
        np.testing.assert_allclose(found[g], chance @ (curve - mean) ** 2, rtol=0.02, atol=1e-9)


@pytest.mark.parametrize("level", [0.5, 0.95, 0.999])
def test_whole_trials_give_clopper_and_pearsons_bounds(level: float) -> None:
    for trials, hits in ((1000, 3), (40, 20), (7, 6)):
        p = hits / trials
        low, high = effective_trials_interval(np.array([p]), np.array([p * (1 - p) / trials]), (1 - level) / 2)
        exact = stats.binomtest(hits, trials).proportion_ci(level, method="exact")
        assert (low[0], high[0]) == pytest.approx((exact.low, exact.high), rel=1e-9)


def test_few_degrees_of_freedom_widen_and_no_variance_has_no_width() -> None:
    mean, variance = np.array([0.0, 0.3, 0.3, 1.0]), np.array([0.01, 0.01, 0.0, 0.01])
    many, few = (effective_trials_interval(mean, variance, 0.025, degrees) for degrees in (None, 3))
    ends = [0, 2, 3]
    for low, high in (many, few):
        assert low[ends].tolist() == high[ends].tolist() == mean[ends].tolist()
    assert few[0][1] < many[0][1] < 0.3 < many[1][1] < few[1][1]
    np.testing.assert_allclose(effective_trials_interval(mean, variance, 0.025, 10**7), many, rtol=1e-5)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 20, 1), (1, 20, 20), (10, 50, 16), (400, 200, 128)])
def test_nothing_leaked_is_certain_up_to_what_could_have_gone_unseen(m: int, n: int, k: int) -> None:
    """The largest mean leak@k with which no leak in m x n samples has a chance of 2.5%, all prompts alike."""
    p = 1 - 0.025 ** (1 / (n * m))
    curve = leak_at_k(np.zeros((m, n)), k)
    assert curve.low[0] == 0
    assert curve.high[0] == pytest.approx(1 - (1 - p) ** k, rel=1e-9)


@pytest.mark.parametrize(("m", "n", "k"), [(1, 20, 1), (3, 20, 2), (10, 50, 16)])
def test_everything_leaked_is_certain_down_to_what_could_have_gone_unseen(m: int, n: int, k: int) -> None:
    """The doubt may sit in j of the prompts; the search over j is done again here."""
    lowest = 1.0
    for j in range(1, m + 1):
        miss = 1 - 0.025 ** (1 / (n * j))
        lowest = min(lowest, 1 - j / m * miss**k)
    curve = leak_at_k(np.ones((m, n)), k)
    assert curve.high[0] == 1
    assert curve.low[0] == pytest.approx(lowest, rel=1e-9)


@pytest.mark.parametrize("over", ["samples", "prompts", "both"])
def test_another_scale_of_the_scores_is_another_scale_of_the_interval(over: str) -> None:
    """Scores beyond [0, 1] are laid on it: the bounds move with them."""
    rng = np.random.default_rng(2)
    scores = rng.random((12, 20))
    scores[0, :2] = 0, 1
    ks = np.array([1, 4, 20])
    low, high = interval(list(scores), ks, per_prompt_leak(scores, ks), over=over, level=0.9)
    wide = -3 + 8 * scores
    found = interval(list(wide), ks, per_prompt_leak(wide, ks), over=over, level=0.9)
    np.testing.assert_allclose(found, (-3 + 8 * low, -3 + 8 * high), atol=1e-9)


def test_the_interval_over_prompts_is_that_of_their_mean() -> None:
    """Korn and Graubard by hand: the variance of a mean, and Student's degrees of freedom."""
    values = np.array([[0.1], [0.4], [0.2], [0.9], [0.3]])
    rows = [np.array([v]) for v in values[:, 0]]
    low, high = interval(rows, np.array([1]), values, over="prompts", level=0.95)
    mean, variance = values.mean(), values.var(ddof=1) / 5
    trials = mean * (1 - mean) / variance * (stats.norm.ppf(0.975) / stats.t.ppf(0.975, 4)) ** 2
    assert low[0] == pytest.approx(stats.beta.ppf(0.025, trials * mean, trials * (1 - mean) + 1))
    assert high[0] == pytest.approx(stats.beta.ppf(0.975, trials * mean + 1, trials * (1 - mean)))


def test_both_is_at_least_as_wide_as_over_prompts() -> None:
    """Prompts that happen to agree say nothing of the samples."""
    scores = np.tile([0.0, 1.0], (60, 1))
    prompts, both = (leak_at_k(scores, [1], over=over) for over in ("prompts", "both"))
    assert (both.low < prompts.low).all()
    assert (both.high > prompts.high).all()
    rng = np.random.default_rng(0)
    spread = (rng.random((40, 200)) < rng.random((40, 1))).astype(float)  # the prompts differ far more than samples do
    prompts, both = (leak_at_k(spread, [1, 2], over=over) for over in ("prompts", "both"))
    assert both.low.tolist() == prompts.low.tolist()


def test_clusters_of_one_change_nothing_and_repeats_of_a_prompt_are_one() -> None:
    rng = np.random.default_rng(4)
    scores = rng.random((9, 6))
    plain = leak_at_k(scores, [1, 3], over="prompts")
    alone = leak_at_k(scores, [1, 3], over="prompts", clusters=[f"c{i}" for i in range(9)])
    assert (alone.low.tolist(), alone.high.tolist()) == (plain.low.tolist(), plain.high.tolist())
    twice = leak_at_k(np.repeat(scores, 2, axis=0), [1, 3], over="prompts", clusters=np.repeat(range(9), 2).tolist())
    np.testing.assert_allclose((twice.low, twice.high), (plain.low, plain.high), rtol=1e-9)


@pytest.mark.parametrize(
    ("clusters", "words"),
    [
        (["a", "b"], "2 cluster labels for 3 prompts"),
        ([["a"], ["b"], ["c"]], "clusters must be a list of one label a prompt"),
        (7, "clusters must be a list of one label a prompt"),
        (["a", "a", "a"], r"at least 2 prompts .or clusters., got 1; use over=.samples."),
    ],
)
def test_clusters_that_are_refused(clusters: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        leak_at_k(np.zeros((3, 4)), 1, over="prompts", clusters=clusters)  # type: ignore[arg-type]


def test_scores_of_0_and_1_have_their_own_variance_and_it_adds_up_over_prompts() -> None:
    rng = np.random.default_rng(6)
    rows = [(rng.random(n) < 0.3).astype(float) for n in (12, 12, 30)]
    ks = np.array([1, 5, 12])
    sizes, counts = np.array([12, 12, 30]), np.array([int(row.sum()) for row in rows])
    np.testing.assert_array_equal(sample_variance(rows, ks), binary_variance(counts, sizes, ks, wanted=sizes))
    # A run of more samples is surer of every k; at k = 1 the variance falls as 1/n.
    more = binary_variance(counts, sizes, ks, wanted=4 * sizes)
    less = binary_variance(counts, sizes, ks, wanted=sizes)
    assert (more < less).all()
    assert more[0] == pytest.approx(less[0] / 4, rel=1e-9)


def curve_of(value: float, low: float, high: float, over: str, per_prompt: list[float]) -> SimpleNamespace:
    one = {name: np.array([x]) for name, x in (("k", 1), ("value", value), ("low", low), ("high", high))}
    return SimpleNamespace(**one, over=over, per_prompt=np.array(per_prompt)[:, None])


def test_a_difference_of_independent_curves_adds_the_squares() -> None:
    model, reference = curve_of(0.5, 0.3, 0.6, "samples", [0.2, 0.8]), curve_of(0.4, 0.1, 0.8, "samples", [0.3, 0.5])
    low, high = difference_interval(model, reference)  # type: ignore[arg-type]
    assert low[0] == pytest.approx(0.1 - np.hypot(0.2, 0.4))
    assert high[0] == pytest.approx(0.1 + np.hypot(0.1, 0.3))


@pytest.mark.parametrize(("other", "correlation"), [([0.3, 0.5], 1), ([0.5, 0.3], -1), ([0.4, 0.4], 0)])
def test_a_difference_over_prompts_takes_out_what_they_share(other: list[float], correlation: int) -> None:
    model, reference = curve_of(0.5, 0.3, 0.6, "prompts", [0.2, 0.8]), curve_of(0.4, 0.1, 0.8, "prompts", other)
    low, high = difference_interval(model, reference)  # type: ignore[arg-type]
    reach = {1: (0.2, 0.2), -1: (0.6, 0.4), 0: (np.hypot(0.2, 0.4), np.hypot(0.1, 0.3))}[correlation]
    assert (0.1 - low[0], high[0] - 0.1) == pytest.approx(reach)


@pytest.mark.parametrize(("hits", "trials"), [(0, 7), (7, 7), (1, 1), (3, 11), (40, 400)])
def test_a_share_has_the_interval_that_inverts_the_binomial(hits, trials):
    low, high = share_interval(hits, trials, 0.9)
    assert low == 0.0 if hits == 0 else stats.binom.sf(hits - 1, trials, low) == pytest.approx(0.05)
    assert high == 1.0 if hits == trials else stats.binom.cdf(hits, trials, high) == pytest.approx(0.05)


def test_a_share_of_nothing_is_unknown():
    assert share_interval(0, 0, 0.95) == (0.0, 1.0)
    with pytest.raises(InputError, match="hits"):
        share_interval(2, 1, 0.95)
