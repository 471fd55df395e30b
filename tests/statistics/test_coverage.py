"""Nominal 95% intervals hold the truth as often as they say."""

import numpy as np
import pytest

from leakatk.estimate.certify import certify, kl_upper, moment_upper
from leakatk.estimate.from_probability import leak_from_probability
from leakatk.estimate.ustatistic import leak_of_counts
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


@pytest.mark.parametrize(("m", "n", "k"), [(20, 200, 128), (100, 50, 33), (10, 30, 20)])
@pytest.mark.parametrize("level", [0.2, 0.5, 0.8])
def test_certified_bounds_cover_where_every_prompt_is_equal(m, n, k, level):
    """Between n/2 and n blocks are wasted and exponential moments take over; equal prompts are the noisiest profile."""
    rng = np.random.default_rng(3)
    p = -np.expm1(np.log1p(-level) / k)
    values = leak_of_counts(n, np.array([k]))[rng.binomial(n, p, (20_000, m)), 0].mean(axis=1)
    low, high = 1e-9, level  # the bound grows with the value: find the value from which it holds
    for _ in range(25):
        middle = (low + high) / 2
        short = moment_upper(middle, m, n, k, np.log(20)) < level
        low, high = (middle, high) if short else (low, middle)
    assert ((values < low) & (values > 0)).mean() <= 0.05
    assert moment_upper(level, m, n, k, np.log(20)) < kl_upper(np.array([level]), np.array([m]), np.log(20))[0]


@pytest.mark.parametrize("profile", estimators.GRADED)
def test_certified_bounds_of_graded_scores_cover(profile):
    rng = np.random.default_rng(5)
    for _ in range(40):
        chance = estimators.GRADED[profile](rng, 30)
        bound = certify(estimators.draw(rng, chance, 50), [1, 33, 50]).high
        assert (bound >= [estimators.true_leak(chance, k) for k in (1, 33, 50)]).all()


@pytest.mark.parametrize("profile", estimators.GRADED)
def test_intervals_of_graded_scores_cover(profile):
    found = estimators.coverage(profile, "samples", sims=150, m=200, n=100, ks=(1, 4, 16, 50, 75, 100), seed=11)
    assert (found.covered >= lowest(0.93, 150)).all(), found.covered


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("profile", estimators.GRADED)
def test_intervals_of_graded_scores_cover_in_many_simulations(profile):
    found = estimators.coverage(profile, "samples", sims=2000, seed=12)
    assert (found.covered >= 0.93).all(), found.covered
    assert (found.covered <= 0.99).all(), found.covered  # .98 on average over profiles
