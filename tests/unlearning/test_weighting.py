"""Token weights: which tokens of an answer count."""

import pytest

from leakatk.unlearning.batches import Item
from leakatk.unlearning.weighting import known_tokens, share, table_of


def test_a_table_counts_what_follows_two_tokens():
    table = table_of([Item((1, 2), (3, 4)), Item((1, 2), (3, 5)), Item((1, 2), (6,))])
    assert share(table, (1, 2), 3) == pytest.approx(2 / 3)
    assert share(table, (2, 3), 5) == pytest.approx(1 / 2)
    assert share(table, (2, 3), 3) == 0
    assert share(table, (9, 9), 3) == 0  # never seen


@pytest.mark.parametrize("least", [0.0, 1.5])
def test_a_probability_that_is_none(least):
    with pytest.raises(ValueError, match="least probability"):
        known_tokens(least)
