"""Orders of slices, against brute force."""

from itertools import permutations

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.unlearning.exact.orders import beginning, cyclic, kept_slices, longest, matched


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9, 24])
def test_orders_begin_with_every_slice_alike(count):
    found = cyclic(range(4), count)
    assert len(set(found)) == count
    assert all(sorted(order) == [0, 1, 2, 3] for order in found)
    firsts = np.bincount([order[0] for order in found], minlength=4)
    assert firsts.max() - firsts.min() <= 1
    if count >= 4:  # and of those with one first slice the second is spread alike
        for first in range(4):
            seconds = [order[1] for order in found if order[0] == first]
            assert max(map(seconds.count, seconds)) - min(map(seconds.count, set(range(4)) - {first})) <= 1
    with pytest.raises(InputError, match="1 to 24 orders"):
        cyclic(range(4), 25)


def test_the_score_is_the_expected_sum_over_beginnings():
    """Of deletions drawn one by one: a beginning of n slices counts n where none of the deletions fell into it."""
    rates, order, deletions = [0.4, 0.1, 0.2], (1, 2, 0), 2
    outcomes = [(0, 0.4), (1, 0.1), (2, 0.2), (None, 0.3)]
    expected = sum(
        chance_a * chance_b * sum(n for n in (1, 2, 3) if not {a, b} & set(order[:n]))
        for a, chance_a in outcomes
        for b, chance_b in outcomes
    )
    assert kept_slices(order, rates, deletions) == pytest.approx(expected)


@pytest.mark.parametrize("rates", [[0.5, 0.2, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.3, 0.05, 0.5, 0.1]])
def test_each_step_of_the_matching_is_the_best_assignment(rates):
    found = matched(rates, deletions=3)
    assert sorted(order[0] for order in found) == [0, 1, 2, 3]
    for size in (2, 3, 4):
        before, now = [order[: size - 1] for order in found], [order[:size] for order in found]
        assert sorted(order[-1] for order in now) == [0, 1, 2, 3], "every slice once"
        best = max(
            sum(kept_slices((*start, one), rates, 3) for start, one in zip(before, slices, strict=True))
            for slices in permutations(range(4))
            if all(one not in start for start, one in zip(before, slices, strict=True))
        )
        assert sum(kept_slices(order, rates, 3) for order in now) == pytest.approx(best)
    with pytest.raises(InputError, match="sum to at most 1"):
        matched([0.9, 0.9])


def test_the_longest_beginning_that_is_left():
    orders = cyclic(range(4), 4)
    for gone in [set(), {0}, {1, 3}, {0, 1, 2, 3}]:
        expected = 0
        for order in orders:
            n = 0
            while n < 4 and order[n] not in gone:
                n += 1
            expected = max(expected, n)
        assert len(longest(orders, gone)) == expected
        assert not gone & set(longest(orders, gone))
    assert beginning((2, 0, 1), {1}) == (2, 0)
    assert longest([(0, 1), (1, 0)], {0}) == (1,)  # another order would have kept nothing
