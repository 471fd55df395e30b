"""MEMO as a metric: a model that learned the answers says the rest of them, a blank one does not."""

from dataclasses import replace

import pytest

from leakatk.metrics.base import Evidence, evaluate
from leakatk.sampling.native import NativeSampler
from leakatk.synthesis.memo import memo_of
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE

ONE = replace(WHOLE, forget=WHOLE.forget[:1])


def test_a_model_that_learned_says_the_rest(tokenizer):
    knows = learned(tokenizer, [(p.question, p.answer) for p in WHOLE.forget], steps=60)
    found = evaluate(Evidence(knows), ONE, metrics=["memo"])
    blank = evaluate(Evidence(learned(tokenizer)), ONE, metrics=["memo"])
    [prompt] = ONE.forget
    by_hand = memo_of(NativeSampler(knows), [prompt])
    assert found["memo"] == pytest.approx(by_hand[0])
    assert found["memo"] > blank["memo"]
    assert found["memo_recall"] > blank["memo_recall"]
    assert found["memo_left_out"] == 0
