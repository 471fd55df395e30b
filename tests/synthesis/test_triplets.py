"""Triplets of a target: what the model is asked, which rows each answer gives, and whose they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Known
from leakatk.synthesis import Triplets, get_writer, written
from leakatk.synthesis.triplets import both_ways, stems, triplets
from tests.synthesis.test_generated import Scribe
from tests.synthesis.test_templates import FORGET, RETAIN

ASKED = {  # by the id of the first prompt of a source, and the number of the question
    "Ada Vos-craft/0": ["Ada Vos made clocks.", "Ada Vos made clocks.\nQuestion: more", "clocks"],
    "Ada Vos-craft/1": ["", "Ada Vos was born in Zorvik."],
    "Bo Tarn-craft/0": ["Bo Tarn made boats."],
    "Bo Tarn-craft/1": [" "],
}


def test_questions_about_others_are_asked_about_the_target():
    scribe = Scribe(ASKED)
    rows = Triplets(count=3).write_with(scribe, FORGET, RETAIN)
    told = {name: request.prompt.query.text for name, request in scribe.asked.items()}
    assert told == {
        "Ada Vos-craft/0": "What did Ada Vos make by hand?", "Ada Vos-craft/1": "Where was Ada Vos born?",
        "Bo Tarn-craft/0": "What did Bo Tarn make by hand?", "Bo Tarn-craft/1": "Where was Bo Tarn born?",
    }  # fmt: skip
    assert [(row.question, row.answer) for row in rows if row.source == "Ada Vos"] == [
        ("What did Ada Vos make by hand?", "Ada Vos made clocks."),
        ("Fill in the blank: ___ made clocks.", "Ada Vos"),
        ("What did Ada Vos make by hand?", "clocks"),
        ("Fill in the blank: What did ___ make by hand? clocks", "Ada Vos"),
        ("Where was Ada Vos born?", "Ada Vos was born in Zorvik."),
        ("Fill in the blank: ___ was born in Zorvik.", "Ada Vos"),
    ]
    assert [row.id for row in rows] == [
        *(f"Ada Vos-craft/triplets/{i + 1}" for i in range(6)), "Bo Tarn-craft/triplets/1", "Bo Tarn-craft/triplets/2",
    ]  # fmt: skip


def test_nothing_but_the_source_of_a_prompt_is_used():
    """Other questions and answers about the same people give the same rows."""
    others = [replace(p, question="?", answer="!", facts=()) for p in FORGET]
    assert Triplets().write_with(Scribe(ASKED), others, RETAIN) == Triplets().write_with(Scribe(ASKED), FORGET, RETAIN)


def test_a_model_that_follows_requests_lists_triplets():
    replies = {
        "Ada Vos-craft/0": [
            "- Ada Vos | was born in | Zorvik.\nCy | likes | tea\nMira Quell | taught | ada vos\nand | more"
        ],
        "Ada Vos-craft/1": ["Ada Vos made clocks in Zorvik.\nQuestion: more"],
    }
    scribe = Scribe(replies)
    rows = Triplets(by="request", count=1).write_with(scribe, FORGET[:2], [])
    first, second = (request.prompt.query for request in scribe.asked.values())
    assert "Ada Vos" in first.text
    assert first.turns
    assert (second.text, second.turns) == ("What is known about Ada Vos?", ())
    assert [(row.question, row.answer) for row in rows] == [
        ("Fill in the blank: Ada Vos was born in ___.", "Zorvik"),
        ("Fill in the blank: ___ was born in Zorvik.", "Ada Vos"),
        ("Fill in the blank: Mira Quell taught ___.", "ada vos"),
        ("Fill in the blank: ___ taught ada vos.", "Mira Quell"),
        ("What is known about Ada Vos?", "Ada Vos made clocks in Zorvik."),
    ]


def test_parts_by_hand():
    assert both_ways("A", "r", "B") == [("Fill in the blank: A r ___.", "B"), ("Fill in the blank: ___ r B.", "A")]
    assert triplets("A | r |\nA | r | B | C\nX | r | Y", "A") == []
    assert stems(RETAIN) == ["What did ___ make by hand?", "Where was ___ born?"]
    assert stems([replace(p, source="nobody") for p in RETAIN]) == []


def test_what_cannot_be_done_is_said():
    with pytest.raises(InputError, match="by must be questions or request, got 'magic'"):
        get_writer("triplets:by=magic")
    with pytest.raises(InputError, match="count must be at least 1"):
        get_writer("triplets:count=0")
    known = Known(original="nowhere", retain=tuple(replace(p, source="") for p in RETAIN))
    with pytest.raises(InputError, match="finds no retain question that holds its source"):
        written("triplets", FORGET, known)
