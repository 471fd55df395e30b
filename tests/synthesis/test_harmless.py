"""Harmless questions: which lines count, and whose answers stand with them."""

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Known
from leakatk.synthesis import Harmless, get_writer
from tests.synthesis.test_generated import Scribe
from tests.synthesis.test_templates import FORGET

ADA, CRAFT = FORGET[:2]
REPLY = (
    f"1. Which towns have a harbour?\n{ADA.question}\n- What is Zorvik known for?\n{CRAFT.question.lower()}\n\n"
    "2) which towns have a harbour\n* Who was the first to sail?\nHow deep is it?"
)


class Oracle:
    """The original: it answers all questions but one with what is to be forgotten in it."""

    name = "oracle"

    def __init__(self):
        self.asked = []

    def describe(self):
        return {"model": "oracle"}

    def sample(self, requests, decoding, *, seed):
        from leakatk.prompts import Generation

        assert decoding.temperature == 0
        for request in requests:
            question = request.prompt.question
            self.asked.append(question)
            text = {"Who was the first to sail?": "Ada of Zorvik.", "How deep is it?": " "}.get(
                question, "Many have one."
            )
            yield [Generation(request.prompt.id, j, text, (), 0.0, "stop") for j in request.samples]


def known(scribe):
    return Known(forget=tuple(FORGET), auxiliary={"writer": scribe})


def test_lines_that_ask_and_say_nothing_secret():
    """Of eight lines: one asks the same, one another forget question, one says a fact, one is a repeat, one is blank."""
    oracle, scribe = Oracle(), Scribe({ADA.id: [REPLY]})
    rows = Harmless(count=4).write_with(oracle, [ADA], known(scribe))
    assert oracle.asked == ["Which towns have a harbour?", "Who was the first to sail?", "How deep is it?"]
    assert [(row.id, row.question, row.answer) for row in rows] == [
        (f"{ADA.id}/harmless/1", "Which towns have a harbour?", "Many have one.")
    ]
    assert scribe.decoding.temperature == 1


def test_good_ones_are_shown():
    scribe = Scribe({ADA.id: [REPLY]})
    writer = Harmless(count=3)
    writer.write_with(Oracle(), [ADA], known(scribe), {ADA.id: ["Is it {deep}?", "How?"]})
    told = scribe.asked[ADA.id].prompt.query.text
    assert told == writer.request(ADA, ["Is it {deep}?", "How?"])
    assert told.endswith("Is it {deep}? How?")
    assert ADA.question in told
    assert "Zorvik" not in told
    assert writer.request(ADA) in told


def test_bad_options_are_named():
    with pytest.raises(InputError, match="count must be at least 1"):
        get_writer("harmless:count=0")
