"""Streams that pair the sets: who stands before whom."""

import pytest

from leakatk.errors import InputError
from leakatk.unlearning.paired import behind_forget_questions
from leakatk.unlearning.streams import STREAMS, Given, Streams


def test_a_forget_question_stands_before_each_retain_question(loaded, forget, retain):
    made = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    items, own = made.items("retain_scoped"), made.items("retain")
    assert [item.answer for item in items] == [item.answer for item in own]
    asked = {prompt.question for prompt in forget}
    before = []
    for item, prompt in zip(items, retain, strict=True):
        first, second = made.text(item.prompt).removeprefix("Question: ").split("\n")[:2]
        assert second == prompt.question
        before.append(first)
    assert set(before) <= asked
    assert len(set(before)) > 2
    assert STREAMS["retain_scoped"].side == "retain"


def test_there_must_be_forget_questions(retain):
    with pytest.raises(InputError, match="need a forget set"):
        behind_forget_questions(retain, Given(0, [], retain))
