import math

import numpy as np
import pytest
from scipy import stats

from leakatk.errors import InputError
from leakatk.estimate.trust import (
    faithfulness,
    quantising,
    quantising_both_ways,
    relearning,
    relearning_both_ways,
    robustness,
)


def test_faithfulness_is_the_share_of_pairs_told_apart():
    rng = np.random.default_rng(0)
    holding, never = rng.integers(0, 6, 9) + 1.0, rng.integers(0, 6, 7) * 1.0  # with ties
    found = faithfulness(holding, never)
    pairs = [1.0 if a > b else 0.5 if a == b else 0.0 for a in holding for b in never]
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.value == pytest.approx(stats.mannwhitneyu(holding, never).statistic / 63)
    assert (found.holding, found.never) == (9, 7)
    assert found.low < found.value < found.high


def test_the_metric_must_be_higher_where_more_is_known():
    assert faithfulness([2, 3], [0, 1]).value == 1
    assert faithfulness([0, 1], [2, 3]).value == 0


def test_its_interval_has_an_end_where_the_pools_do_not_overlap():
    few, many = faithfulness([2, 3], [0, 1]), faithfulness(np.arange(30) + 100, np.arange(30))
    assert few.high == many.high == 1
    assert few.low < 0.7 < many.low < 1
    swapped = faithfulness([0, 1], [2, 3])
    assert (swapped.low, swapped.high) == (pytest.approx(1 - few.high), pytest.approx(1 - few.low))


def test_its_interval_holds_as_often_as_it_says():
    """Two normal pools whose area is known, 400 times."""
    rng, shift = np.random.default_rng(1), 1.2
    truth = stats.norm.cdf(shift / math.sqrt(2))
    held = 0
    for _ in range(400):
        found = faithfulness(rng.normal(shift, 1, 12), rng.normal(0, 1, 10), level=0.9)
        held += found.low <= truth <= found.high
    assert held >= 0.86 * 400  # 4 standard errors below 90% is 84%


@pytest.mark.parametrize("pools", [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_without_models_there_is_nothing_to_say(pools):
    with pytest.raises(InputError, match="at least one model"):
        faithfulness(*pools)


def test_relearning_compares_what_both_models_gain():
    assert relearning(0.1, 0.5, 0.1, 0.2) == pytest.approx(0.1 / 0.4)
    assert relearning(0.1, 0.2, 0.1, 0.5) == 1  # the retrained model gains more
    assert relearning(0.3, 0.2, 0.1, 0.5) == 1  # nothing came back
    assert relearning(0.1, 0.5, 0.2, 0.1) == 0
    assert relearning_both_ways(0.1, 0.2, 0.1, 0.5) == pytest.approx(1 - 0.3 / 0.5)
    assert relearning_both_ways(0.1, 0.1, 0.2, 0.2) == 1
    assert math.isnan(relearning(math.nan, 0.5, 0.1, 0.2))
    assert math.isnan(relearning_both_ways(0.1, 0.5, math.nan, 0.2))


def test_rounding_compares_before_and_after():
    assert quantising(0.2, 0.5) == pytest.approx(0.4)
    assert quantising(0.5, 0.2) == 1
    assert quantising(0.0, 0.0) == 1
    assert quantising_both_ways(0.5, 0.2) == pytest.approx(1 - 0.3 / 0.7)
    assert quantising_both_ways(0.0, 0.0) == 1
    assert math.isnan(quantising(0.1, math.nan))


def test_robustness_is_their_harmonic_mean():
    assert robustness(0.5, 1.0) == pytest.approx(2 / (1 / 0.5 + 1 / 1.0))
    assert robustness(0.0, 1.0) == 0
    assert math.isnan(robustness(math.nan, 1.0))
