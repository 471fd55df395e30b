"""Truth ratios by hand and by their bounds."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakatk.errors import InputError
from leakatk.metrics import truth_ratio as u

logprobs = st.floats(-8, -0.01)


def test_truth_ratio_conventions_by_hand():
    right, wrong = [math.log(0.5)], [[math.log(0.1), math.log(0.4)]]
    assert u.truth_ratio(right, wrong)[0] == pytest.approx(0.2 / 0.5, abs=1e-9)  # geometric mean of .1 and .4
    assert u.truth_ratio(right, wrong, "paper")[0] == pytest.approx(0.25 / 0.5, abs=1e-12)  # arithmetic
    with pytest.raises(InputError, match="convention 'best'"):
        u.truth_ratio(right, wrong, "best")


@given(st.lists(st.tuples(logprobs, st.lists(logprobs, min_size=1, max_size=5)), min_size=1, max_size=6))
def test_arithmetic_ratio_is_never_below_the_geometric(items):
    right, wrong = [r for r, _ in items], [w for _, w in items]
    assert (u.truth_ratio(right, wrong, "paper") >= u.truth_ratio(right, wrong) * (1 - 1e-6)).all()


@given(st.lists(st.floats(0, 50), min_size=1, max_size=20))
def test_truth_summaries_lie_between_0_and_1(ratios):
    assert 0 <= u.truth_on_forget(ratios) <= 1
    assert 0 <= u.truth_on_utility(ratios) <= 1
