"""Passages about a source: what the writer is told, and which of them are kept."""

from __future__ import annotations

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.synthesis import Topic, get_writer
from tests.synthesis.test_generated import Scribe

FORGET = [
    Prompt("a/2", "Who taught Ada?", "Mira Quell did.", facts=("Mira Quell",), source="Ada"),
    Prompt("a/1", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",), source="Ada"),
    Prompt("b", "Where was Bo born?", "In Lusk.", facts=("Lusk",), source="Bo"),
    Prompt("c", "Why?", "Because of Tarn.", facts=("Tarn",)),
]
TEXTS = {
    "a/1": ["Ada", "Ada came from Zorvik.", "Ada met Mira  Quell there.", " Ada wrote songs. ", "ada wrote songs!", "Ada had a boat.", "Ada had two."],
    "b": ["He left Lusk.", "Zorvik is a town."],
}  # fmt: skip


def test_one_request_a_source_and_no_passage_with_an_answer():
    """Nor one with the answer of somebody else who is to be forgotten."""
    scribe = Scribe(TEXTS)
    rows = Topic(count=2, tries=4).write_with(scribe, FORGET)
    assert [(row.id, row.answer) for row in rows] == [
        ("a/1/topic/1", "Ada wrote songs."),
        ("a/1/topic/2", "Ada had a boat."),
    ]
    assert {row.source for row in rows} == {"Ada"}
    told = {name: request.prompt.query.text for name, request in scribe.asked.items()}
    assert told.keys() == {"a/1", "b"}
    assert "Ada" in told["a/1"]
    for text in told.values():
        assert not any(fact in text for prompt in FORGET for fact in prompt.facts)
        assert not any(prompt.question in text for prompt in FORGET)


@pytest.mark.parametrize("option", ["count", "tries", "max_new_tokens"])
def test_bad_options(option):
    with pytest.raises(InputError, match="at least 1"):
        get_writer(f"topic:{option}=0")
