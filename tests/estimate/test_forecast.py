import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.forecast import bounds_from_counts, forecast, model_line
from leakatk.estimate.from_probability import ProbabilityBounds, leak_from_probability
from tests.statistics.simulation import estimators

N = 200


@pytest.mark.parametrize("profile", estimators.PROFILES)
def test_guaranteed_bounds_cover_beyond_n(profile):
    """Bounds of 95%: in 60 runs of 3 horizons, each misses at most 8 times (chance 3e-3 if it were .95 exactly)."""
    rng = np.random.default_rng(1)
    ks = [2 * N, 5 * N, 10 * N]
    held = np.zeros(3)
    for _ in range(60):
        p = estimators.PROFILES[profile](rng, 200)
        low, high = bounds_from_counts(rng.binomial(N, p), N, ks)
        truth = [leak_from_probability(p, k).mean() for k in ks]
        held += (low <= truth) & (truth <= high)
    assert (held >= 52).all()


def test_the_bounds_reach_the_distribution_that_is_worst():
    """Nothing leaked: every prompt may leak with the p whose silence is just not refuted, and the bound knows it."""
    low, high = bounds_from_counts(np.zeros(400, dtype=int), N, [10 * N])
    assert low[0] == 0
    # One prompt in 400 may leak for sure, or all a little: more than the first, less than everything.
    assert 1 / 400 < high[0] < 0.25


def test_widths_at_the_size_of_tofu():
    rng = np.random.default_rng(0)
    widths = []
    for _ in range(5):
        p = estimators.heavy(rng, 400)
        low, high = bounds_from_counts(rng.binomial(N, p), N, [2 * N, 5 * N, 10 * N])
        widths.append(high - low)
    assert (np.mean(widths, axis=0) < [0.26, 0.53, 0.75]).all()


def test_exact_probabilities_take_over_where_they_are_tighter():
    scores = np.zeros((2, 50))
    scores[0, :10] = 1
    sure = [ProbabilityBounds(0.2, 0.21, 9), ProbabilityBounds(0.0, 1e-9, 9)]
    plain, found = forecast(scores, [10, 10**6]), forecast(scores, [10, 10**6], exact=sure)
    assert found.low_by[1] == found.high_by[1] == "exact"
    assert found.low[1] == pytest.approx(0.5)
    assert found.high[1] == pytest.approx(0.5 + 0.0005, abs=1e-5)
    assert plain.high[1] > 0.9
    assert (found.low >= plain.low).all()
    assert (found.high <= plain.high).all()


def test_the_bounds_hold_the_truth_at_a_million_where_it_can_be_enumerated():
    """Every answer's probability known: bounds from counts and from exact masses hold 1-(1-p)^k at k = 10^6."""
    rng = np.random.default_rng(2)
    p = 10 ** rng.uniform(-7, -1, 60)
    scores = (rng.random((60, 100)) < p[:, None]).astype(float)
    sure = [ProbabilityBounds(0.9 * x, min(1.0, 1.1 * x), 3) for x in p]
    truth = leak_from_probability(p, 10**6).mean()
    for exact in (None, sure):
        found = forecast(scores, [10**6], exact=exact)
        assert found.low[0] <= truth <= found.high[0]


def test_the_line_is_the_estimate_inside_n_and_close_to_the_truth_a_little_beyond():
    rng = np.random.default_rng(3)
    p = estimators.bimodal(rng, 2000)
    counts = rng.binomial(N, p)
    line = model_line(counts, N, [1, 64, 2 * N])
    assert line == pytest.approx([leak_from_probability(p, k).mean() for k in (1, 64, 2 * N)], abs=0.02)


def test_bad_input():
    with pytest.raises(InputError, match="0/1 scores"):
        forecast([[0.5, 1.0]], 4)
    assert forecast([[0.5, 1.0]], 4, threshold=0.8).n == 2
    with pytest.raises(InputError, match="same number of samples"):
        forecast([[0, 1], [1]], 4)
    with pytest.raises(InputError, match="1 exact bounds for 2 prompts"):
        forecast([[0, 1], [1, 0]], 4, exact=[ProbabilityBounds(0, 1, 0)])
    with pytest.raises(InputError, match="level"):
        forecast([[0, 1]], 4, level=95)


def test_the_line_stays_inside_its_own_bounds() -> None:
    """Exact bounds from probabilities may refute the model of the counts: the line gives way."""

    scores = np.zeros((6, 50))
    sure = [ProbabilityBounds(0.2, 0.3, 5)] * 6
    found = forecast(scores, [100, 1000, 10**6], exact=sure)
    assert model_line(np.zeros(6), 50, [100])[0] < found.low[0]
    assert (found.line >= found.low).all()
    assert (found.line <= found.high).all()


@pytest.mark.parametrize(("leaks", "sure"), [(0, (0.9, 0.95)), (200, (0.001, 0.002))])
def test_certain_bounds_hold_where_the_counts_exclude_them(leaks, sure):
    """What the counts call impossible has happened: no interval may end before it begins."""
    scores = np.zeros((40, N))
    scores[:, :leaks] = 1
    found = forecast(scores, [1, 10, 2 * N], exact=[ProbabilityBounds(*sure, 5)] * 40)
    assert (found.low <= found.high).all()
    for i, k in enumerate((1, 10)):
        low, high = (1 - (1 - p) ** k for p in sure)  # once more in plain numbers
        assert (found.low[i], found.high[i]) == (pytest.approx(low), pytest.approx(high))
        assert (found.low_by[i], found.high_by[i]) == ("exact", "exact")
    assert ((found.line >= found.low) & (found.line <= found.high)).all()
