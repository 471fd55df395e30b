"""The mean of the estimator over many runs is the truth it estimates."""

import numpy as np
import pytest

from leakatk.estimate.from_probability import leak_from_probability
from leakatk.estimate.ustatistic import per_prompt_leak
from tests.statistics.simulation import estimators

KS = np.array([1, 8, 64, 128])
RUNS = 10_000


@pytest.mark.parametrize("profile", estimators.PROFILES)
def test_unbiased_on_every_profile(profile):
    rng = np.random.default_rng(7)
    probabilities = estimators.PROFILES[profile](rng, 12)
    error, variance = np.zeros(4), np.zeros(4)
    for p in probabilities:
        found = per_prompt_leak((rng.random((RUNS, 200)) < p).astype(float), KS)
        error += found.mean(axis=0) - leak_from_probability(p, KS)
        # Where no run leaked, the largest variance that this is likely for: 3 leaks in all runs.
        variance += np.maximum(found.var(axis=0), 3 * (KS / 200) ** 2 / RUNS) / RUNS
    assert (np.abs(error) <= 3 * np.sqrt(variance)).all()


def test_unbiased_for_graded_scores():
    """E[max of k] of a beta(1, b) score is 1 - the integral of (1 - (1-s)^b)^k, here by a fine sum."""
    rng = np.random.default_rng(3)
    grid = (np.arange(200_000) + 0.5) / 200_000
    truth = np.array([1 - ((1 - (1 - grid) ** 5.0) ** k).mean() for k in KS])
    found = per_prompt_leak(rng.beta(1, 5, (RUNS, 200)), KS)
    assert (np.abs(found.mean(axis=0) - truth) <= 3 * found.std(axis=0) / np.sqrt(RUNS)).all()


def test_a_biased_shortcut_would_be_seen():
    """The plug-in 1-(1-c/n)^k is biased; the test above would catch it."""
    rng = np.random.default_rng(5)
    share = rng.binomial(200, 0.01, RUNS) / 200
    plug_in = leak_from_probability(share, 128)
    bias = plug_in.mean() - leak_from_probability(0.01, 128)
    assert abs(bias) > 10 * plug_in.std() / np.sqrt(RUNS)


def test_published_seed_noise():
    """GradDiff in the Leak@k paper: 400 prompts, n = 200, 24 seeds; the sd over seeds of the published means.

    The profile of leak probabilities is fitted to the published means alone; the sd column is then a prediction.
    """
    from scipy.optimize import nnls

    ks = 2 ** np.arange(8)
    mean = np.array([0.2610, 0.3670, 0.4744, 0.5733, 0.6580, 0.7281, 0.7848, 0.8302])
    sd = np.array([0.0011, 0.0014, 0.0018, 0.0021, 0.0029, 0.0037, 0.0045, 0.0066])
    grid = np.geomspace(1e-5, 1, 400)
    design = np.stack([leak_from_probability(grid, k) for k in ks])
    smooth = 1e-2 * np.diff(np.eye(400), 2, axis=0)
    left = np.vstack([design * 100, smooth, np.full((1, 400), 100.0)])
    weights, _ = nnls(left, np.concatenate([mean * 100, np.zeros(398), [100.0]]))
    rng = np.random.default_rng(0)
    profile = rng.choice(grid, 400, p=weights / weights.sum())
    runs = np.array(
        [per_prompt_leak((rng.random((400, 200)) < profile[:, None]) * 1.0, ks).mean(axis=0) for _ in range(300)]
    )
    ratio = runs.std(axis=0) / sd
    assert (ratio > 0.7).all(), ratio
    assert (ratio < 1.3).all(), ratio
