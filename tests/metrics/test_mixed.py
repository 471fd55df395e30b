"""SEPS by hand, on models that answer one half, the other, or both."""

import numpy as np
import pytest

from leakatk.benchmarks.forms import numbered, with_context
from leakatk.metrics import mixed as m
from leakatk.metrics.base import Evidence, evaluate
from leakatk.unlearning.streams import STREAMS, Given
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE

REFUSED = "I do not know that."


def asked(pair):
    return numbered([prompt.question for prompt in pair])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1. In Rome. 2. A baker.", ("In Rome.", "A baker.")),
        (" 1. one\n2. two", ("one", "two")),
        ("1. born in 1952. 2. x", ("born in 1952.", "x")),
        ("In Rome.", None),
        ("2. x", None),
        ("1. x", None),
    ],
)
def test_halves(text, parts):
    assert m.halves(text) == parts


def test_by_a_loop():
    f, r = [0.2, 0.6], [0.9, 0.7]
    difference, harmonic = m.seps(f, r)
    assert difference == pytest.approx((0.9 - 0.2 + 0.7 - 0.6) / 2)
    assert harmonic == pytest.approx(2 / (1 / 0.8 + 1 / 0.6))
    assert m.seps([1], [0]) == (-1, 0)
    assert m.seps([0], [1]) == (1, 1)


def test_prompts_are_those_that_the_methods_train_on():
    first, last = m.mixed(WHOLE.forget, WHOLE.retain)
    given = Given(0, WHOLE.forget, WHOLE.retain)
    for pairs, stream in ((first, "mixed_known"), (last, "mixed_known_last")):
        assert [asked(pair) for pair in pairs] == [q for q, _ in STREAMS[stream].pairs(WHOLE.forget, given)]
    in_context = STREAMS["in_context"].pairs(WHOLE.forget, given)
    assert [with_context(p.question, p.answer) for p in WHOLE.forget] == [question for question, _ in in_context]


def answering(tokenizer, say_forget, say_retain):
    first, last = m.mixed(WHOLE.forget, WHOLE.retain)
    told = {p: p.answer if say_forget else REFUSED for p in WHOLE.forget}
    told |= {p: p.answer if say_retain else REFUSED for p in WHOLE.retain}
    pairs = [(asked(pair), " ".join(f"{i}. {told[p]}" for i, p in enumerate(pair, 1))) for pair in (*first, *last)]
    return evaluate(Evidence(learned(tokenizer, pairs, steps=150)), WHOLE, metrics=["seps"])


def test_each_half_counts_for_its_own_question(tokenizer):
    both, apart = answering(tokenizer, True, True), answering(tokenizer, False, True)
    assert both["mixed_unsplit"] == apart["mixed_unsplit"] == 0
    assert (both["mixed_forget"], both["mixed_retain"], both["seps"]) == (1, 1, 0)
    assert apart["mixed_retain"] == 1
    assert apart["seps"] == pytest.approx(1 - apart["mixed_forget"])
    assert apart["seps"] > 0.9
    assert apart["seps_harmonic"] > 0.9 > 0.1 > both["seps_harmonic"]


def test_what_is_not_numbered_counts_whole_and_is_said(tokenizer):
    first, last = m.mixed(WHOLE.forget, WHOLE.retain)
    pairs = [(asked(pair), pair[1].answer) for pair in (*first, *last)]
    found = evaluate(Evidence(learned(tokenizer, pairs, steps=150)), WHOLE, metrics=["seps"])
    assert found["mixed_unsplit"] == 1
    assert 0.5 <= found["mixed_forget"] < 1
    assert np.isclose(found["seps"], found["mixed_retain"] - found["mixed_forget"])


def test_context_and_direct_questions(tokenizer):
    """A model that answers with the context before the question, and not without."""
    pairs = [(with_context(p.question, p.answer), p.answer) for p in WHOLE.forget] + [
        (p.question, REFUSED) for p in WHOLE.forget
    ]
    found = evaluate(Evidence(learned(tokenizer, pairs, steps=150)), WHOLE, metrics=["context_questions"])
    assert (found["context_rouge"], found["context_fact"], found["direct_fact"]) == (1, 1, 0)
    assert found["direct_rouge"] < 0.2
