"""BLEU by products of fractions."""

import math

import pytest

from leakatk.scorers.bleu import bleu

TRUTH = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("a b c d e", 1.0),
        ("a b c d x", (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25),
        ("a b c d", math.exp(1 - 5 / 4)),  # shorter: brevity
        ("a b c d e a b", (5 / 7 * 4 / 6 * 3 / 5 * 2 / 4) ** 0.25),  # a second "a b" counts no more: clipped
        ("a b c x d e", 0.0),  # no run of four
        ("", 0.0),
    ],
)
def test_by_hand(said, wanted):
    assert bleu(TRUTH, said.split()) == pytest.approx(wanted)


def test_a_true_text_of_two_words_has_runs_of_two():
    assert bleu(["x", "y"], ["x", "y", "z"]) == pytest.approx((2 / 3 * 1 / 2) ** 0.5)
    assert bleu([], ["x"]) == 0
