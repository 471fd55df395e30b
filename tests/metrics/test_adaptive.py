"""AUS by its formula."""

import pytest

from leakatk.metrics.accuracy import says
from leakatk.metrics.adaptive import aus
from leakatk.metrics.base import Evidence, evaluate
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE


def test_by_hand():
    assert aus(0.9, 0.9, 0) == 1
    assert aus(0.9, 0.6, 0) == pytest.approx(0.7)
    assert aus(0.9, 0.9, 1) == 0.5
    assert aus(0.8, 0.5, 0.25) == pytest.approx((1 - 0.3) / 1.25)


def test_what_is_forgotten_and_what_is_lost_both_count(tokenizer):
    """The original knows both sets; one model lost the forget set alone, one lost both."""
    forget, kept = ([(p.question, p.answer) for p in part] for part in (WHOLE.forget, WHOLE.retain_held))
    full, clean = (learned(tokenizer, pairs, steps=120) for pairs in (forget + kept, kept))
    before = {"original": [Evidence(full)]}
    values = [
        evaluate(Evidence(one, beside=before), WHOLE, metrics=["aus"]) for one in (clean, full, learned(tokenizer))
    ]
    assert [says(Evidence(full), part).mean() for part in (WHOLE.forget, WHOLE.retain_held)] == [1, 1]
    assert [one["aus"] for one in values] == [1, 0.5, 0]
    assert [one["aus_random"] for one in values] == [0.5, 1, 0]
