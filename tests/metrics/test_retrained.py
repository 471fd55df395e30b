"""What is seen beside the retrained model."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakatk.errors import InputError
from leakatk.metrics import retrained as p


def test_privleak_signs():
    knows, beyond = 0.99, 0.2
    assert p.privleak(knows, 0.5) < 0 < p.privleak(beyond, 0.5)
    assert p.privleak(beyond, 0.5, "membership") < 0 < p.privleak(knows, 0.5, "membership")
    assert p.privleak(0.4, 0.4) == p.privleak(0.4, 0.4, "membership") == 0
    assert p.privleak(1.0, 0.5) == pytest.approx(-100, abs=1e-6)
    assert math.isnan(p.privleak(math.nan))
    with pytest.raises(InputError, match="'other'"):
        p.privleak(0.5, 0.5, "other")
    with pytest.raises(InputError, match="between 0 and 1"):
        p.privleak(99.0)


def test_over_unlearning_is_flagged_far_beyond_the_retrained_model_only():
    rng = np.random.default_rng(0)
    retrained, same, far = rng.normal(8, 2, 400), rng.normal(8, 2, 400), rng.normal(500, 50, 400)
    assert not p.over_unlearning(same, retrained).flagged
    assert p.over_unlearning(same, retrained).share == pytest.approx(0.05, abs=0.03)
    assert not p.over_unlearning(rng.normal(0, 2, 400), retrained).flagged
    assert p.over_unlearning(far, retrained).flagged
    assert p.over_unlearning(far, retrained).share == 1


def test_forget_quality_tells_a_model_that_knows_from_one_that_does_not():
    rng = np.random.default_rng(0)
    retrained, again, knows = rng.lognormal(0, 0.5, 400), rng.lognormal(0, 0.5, 400), rng.lognormal(-1, 0.5, 400)
    assert p.forget_quality(again, retrained) > 0.05
    assert p.forget_quality(knows, retrained) < 1e-10


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 1000), min_size=9, max_size=9, unique=True), st.integers(2, 7))
def test_forget_quality_is_the_share_of_splits_that_are_as_far_apart(values, size):
    """The exact p-value of the two-sample test, by trying every way to deal these ratios to the two models."""

    def distance(chosen):
        above = [(v in chosen) / size - (v not in chosen) / (len(values) - size) for v in sorted(values)]
        return max(abs(gap) for gap in np.cumsum(above))

    observed = distance(set(values[:size]))
    splits = [distance(set(chosen)) for chosen in itertools.combinations(values, size)]
    share = np.mean([d >= observed - 1e-9 for d in splits])
    assert p.forget_quality(values[:size], values[size:]) == pytest.approx(share, abs=1e-9)


def test_bad_input():
    with pytest.raises(InputError, match="non-empty"):
        p.forget_quality([], [1.0])
