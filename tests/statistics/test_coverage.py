"""Nominal 95% intervals hold the truth as often as they say."""

import numpy as np
import pytest
from scipy.stats import beta

from leakatk.estimate.certify import certify
from leakatk.estimate.exact import leak_from_probability
from tests.statistics.simulation import estimators

OVER = ("samples", "prompts", "both")


def lowest(floor, sims):
    """Three standard errors below a true coverage of `floor`."""
    return floor - 3 * np.sqrt(floor * (1 - floor) / sims)


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("profile", estimators.PROFILES)
def test_intervals_cover(profile, over):
    found = estimators.coverage(profile, over, sims=300, seed=11)
    assert (found.covered >= lowest(0.93, 300)).all(), found.covered


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("profile", estimators.PROFILES)
def test_intervals_cover_in_many_simulations(profile, over):
    found = estimators.coverage(profile, over, sims=4000, seed=12)
    assert (found.covered >= 0.93).all(), found.covered


@pytest.mark.parametrize("profile", estimators.PROFILES)
def test_certified_bounds_cover(profile):
    rng = np.random.default_rng(2)
    ks = [1, 16, 128]
    held = np.zeros(3)
    for _ in range(200):
        p = estimators.PROFILES[profile](rng, 100)
        bound = certify(estimators.draw(rng, p, 200), ks, level=0.95).high
        held += bound >= [leak_from_probability(p, k).mean() for k in ks]
    assert (held / 200 >= lowest(0.95, 200)).all()


def test_the_zero_leak_bound_is_tight_where_it_is_worst():
    """With the even split p_i = 1 - a^(1/(nm)) nothing leaks in a share a of the runs: the bound then just holds."""
    from leakatk.estimate.certify import zero_leak_bound

    n, m, k = 50, 20, 30
    p = -np.expm1(np.log(0.05) / (n * m))
    assert zero_leak_bound(n, m, k, level=0.95) == pytest.approx(leak_from_probability(p, k))
    rng = np.random.default_rng(1)
    silent = (rng.binomial(n * m, p, 20_000) == 0).mean()
    assert silent == pytest.approx(0.05, abs=0.006)


def test_graded_scores_cover():
    """ROUGE-like scores: a beta distribution of its own for every prompt."""
    from leakatk.estimate.leak import leak_at_k

    rng = np.random.default_rng(4)
    a, b = rng.uniform(0.5, 2, 40), rng.uniform(2, 8, 40)
    ks, sims = [1, 8, 64], 150
    grid = (np.arange(20_000) + 0.5) / 20_000
    below = beta.cdf(grid[:, None], a, b)  # E[max of k] = integral of 1 - P(score < s)^k
    truth = np.array([(1 - below**k).mean() for k in ks])
    held = np.zeros(3)
    for _ in range(sims):
        curve = leak_at_k(rng.beta(a[:, None], b[:, None], (40, 100)), ks, over="samples")
        held += (curve.low <= truth) & (truth <= curve.high)
    assert (held / sims >= lowest(0.93, sims)).all(), held / sims
