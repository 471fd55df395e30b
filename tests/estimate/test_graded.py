"""The variance of graded scores: a bound for every chance to leak, right against simulation, and never silent."""

import numpy as np
import pytest

from leakatk.estimate.graded import count_variances, graded_variance
from leakatk.estimate.intervals import leak_variance
from leakatk.estimate.leak import leak_at_k
from leakatk.estimate.mixing import binomial_table
from leakatk.estimate.ustatistic import per_prompt_leak

CHANCES = np.concatenate([np.geomspace(1e-5, 0.5, 60), 1 - np.geomspace(1e-5, 0.5, 60)[::-1]])


@pytest.mark.parametrize("n", [1, 2, 3, 7, 10, 13, 30, 200])
def test_both_sums_bound_the_variance_of_every_chance_to_leak(n: int) -> None:
    table = binomial_table(n, CHANCES, np.arange(n + 1))
    averages = []
    for k in sorted({*range(1, min(n, 20) + 1), n // 2 or 1, max(1, n - 3), max(1, n - 2), max(1, n - 1), n}):
        true = leak_variance(n, np.array([k]), CHANCES)[:, 0]
        first, second, third = count_variances(n, k)
        assert (table @ first >= true - 1e-9).all()
        if n >= 10:
            tight = table @ (first - second / 2 + third / 7)
            assert (tight >= true - 1e-9).all()
            averages.append(tight.sum() / true.sum())
    if n == 200:
        assert max(averages) < 1.2  # at k = n the variance is 15% too large on average, with V1 alone 45%


def test_the_gap_below_a_threshold_against_enumeration() -> None:
    """V1 of three scores, k = 2: by thresholds, and directly by leaving out one score at a time, on two levels."""
    for scores in ([0, 0, 1], [0, 1, 1]):
        whole = per_prompt_leak([scores], 2)[0, 0]
        direct = sum((whole - max(scores[:i] + scores[i + 1 :])) ** 2 for i in range(3))
        assert graded_variance([np.array(scores, dtype=float)], np.array([2]))[0] == pytest.approx(direct)


def test_the_mean_of_the_variance_is_the_variance() -> None:
    """300 prompts with scores on five levels, each drawn again and again."""
    rng = np.random.default_rng(0)
    chance = rng.dirichlet([8, 1, 0.3, 0.1, 0.05], 300)
    levels, ks = np.array([0, 0.2, 0.5, 0.9, 1]), np.array([1, 5, 20, 40])
    values, variances = [], []
    for _ in range(300):
        reached = chance.cumsum(axis=1)[:, None, :]
        scores = levels[(rng.random((300, 40, 1)) > reached[..., :-1]).sum(axis=2)]
        values.append(per_prompt_leak(scores, ks).mean(axis=0))
        variances.append(graded_variance(list(scores), ks))
    ratio = np.mean(variances, axis=0) / np.var(values, axis=0)
    assert (ratio > 0.8).all(), ratio  # the variance of 300 values is known to 8%
    assert (ratio < 1.6).all(), ratio  # V1 alone is 45% too large at k = n, and 16% of noise


def test_prompts_of_unequal_n_add_up() -> None:
    rng = np.random.default_rng(1)
    rows = [rng.random(n) for n in (3, 8, 3, 11)]
    together = graded_variance(rows, np.array([1, 3])) * 16
    alone = sum(graded_variance([row], np.array([1, 3])) for row in rows)
    np.testing.assert_allclose(together, alone)


def test_one_sample_is_no_certainty() -> None:
    curve = leak_at_k([[0.4], [0.3]], 1)
    assert curve.high[0] - curve.low[0] > 0.3
