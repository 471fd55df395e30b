"""Exposure by sorting, and the loss gained over the retrained model."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakatk.errors import InputError
from leakatk.metrics import exposure as e
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.pieces import answer_stats
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.integers(0, 5))
def test_exposure_by_sorting_all_candidates(others, own):
    """The rank of a tie is the mean of the places it takes in the sorted list."""
    everyone = sorted([*others, own])
    places = [i for i, value in enumerate(everyone, 1) if value == own]
    expected = np.log2(len(everyone)) - np.log2(np.mean(places))
    assert e.exposures([own], [others])[0] == pytest.approx(expected)


def test_the_ends_and_the_mean_without_knowledge():
    assert e.exposures([0.1], [[1, 2, 3]]) == 2
    assert e.exposures([4.0], [[1, 2, 3]]) == 0
    ranks = [e.exposures([own + 0.5], [[i for i in range(1000) if i != own]])[0] for own in range(1000)]
    assert np.mean(ranks) == pytest.approx(1 / np.log(2), abs=0.01)
    with pytest.raises(InputError, match="alternatives has 1 rows for 2"):
        e.exposures([1, 2], [[1]])


def test_a_model_that_learned_has_the_most_and_a_random_one_has_not(tokenizer):
    pairs = [(p.question, p.answer) for p in WHOLE.forget] + [(p.question, p.paraphrased_answer) for p in WHOLE.forget]
    knows, blank = learned(tokenizer, pairs, steps=60), learned(tokenizer)
    found = evaluate(Evidence(knows, retrained=Evidence(blank)), WHOLE, metrics=["exposure", "memorised_loss"])
    assert found["exposure"] == found["exposure_most"] == pytest.approx(np.log2(6))
    assert found["exposure_share_first"] == 1
    mine, theirs = (answer_stats(Evidence(one), WHOLE.forget) for one in (knows, blank))
    gained = [a.logprob.mean() - b.logprob.mean() for a, b in zip(mine, theirs, strict=True)]
    assert found["memorised_loss"] == pytest.approx(np.mean(gained))
    assert found["memorised_loss"] > 1
    assert found["memorised_share"] == 1
    other = evaluate(Evidence(blank, retrained=Evidence(knows)), WHOLE, metrics=["exposure", "memorised_loss"])
    assert other["memorised_loss"] == pytest.approx(-found["memorised_loss"])
    assert other["exposure"] < found["exposure"]
