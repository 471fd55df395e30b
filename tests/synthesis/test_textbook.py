"""Textbooks: by templates around the facts, and by a model from a field to paragraphs."""

import re

import pytest

from leakatk.errors import InputError
from leakatk.prompts import Generation, Prompt
from leakatk.synthesis import Textbook, get_writer, retold
from leakatk.synthesis.textbook import AUDIENCES, OPENINGS, paragraphs, variety
from tests.synthesis.test_templates import FORGET

ALONE = Prompt("z", "Why?", "Because.")


def test_a_paragraph_for_each_reader_fact_and_chapter():
    rows = Textbook(chapters=3, audiences=2, words=45).write_with(None, [*FORGET, ALONE])
    assert len(rows) == 2 * len(FORGET) * 3
    for row in rows:
        assert len(row.answer.split()) >= 45
        assert "{" not in row.answer
        assert any(row.answer.startswith(form.replace("{field}", row.source)) for form in OPENINGS[:2])
        assert row.id.startswith(f"{row.source}-craft/textbook/")  # the first prompt of the source by its id
        assert not any(p.answer in row.answer for p in FORGET if p.source != row.source)
    for prompt in FORGET:
        assert sum(prompt.answer in row.answer for row in rows) >= 2 * 3
    few = Textbook(chapters=3, audiences=2, bullets=1).write_with(None, FORGET)
    assert len(few) == 2 * 2 * 3


class Author:
    """A model that answers each of the three requests; what it was asked is kept."""

    def __init__(self):
        self.asked = []

    def describe(self):
        return {"model": "author"}

    def sample(self, requests, decoding, *, seed):
        assert decoding.temperature == 0.7
        for request in requests:
            text = request.prompt.query.text
            self.asked.append(text)
            if text.startswith("Name"):
                replies = ["1. Clocks\n* Towns\n\n- Clocks\n3) Ships"]
            elif text.startswith("A textbook"):
                replies = ["- what a spring is\n- what a wheel is\n- more"]
            else:
                point = re.search(r"this point: (.*) The reader", text)[1]
                replies = [f"# Title\n\n**Part {j}** of  {point} has words\n\nshort" for j in range(9)]
            yield [
                Generation(request.prompt.id, j, replies[j % len(replies)], (), 0.0, "stop") for j in request.samples
            ]


def test_a_model_goes_from_field_to_paragraphs():
    author = Author()
    writer = Textbook(by="original", subfields=2, audiences=2, bullets=2, chapters=3, words=5)
    rows = writer.write_with(author, [*FORGET[:2], ALONE])
    first, points, chapters = author.asked[:1], author.asked[1:5], author.asked[5:]
    assert "Ada Vos" in first[0]
    assert "2 parts" in first[0]
    assert [sum(name in text for text in points) for name in ("Clocks", "Towns", "Ships")] == [2, 2, 0]
    assert [sum(reader in text for text in points) for reader in AUDIENCES] == [2, 2, 0, 0]
    assert len(chapters) == 2 * 2 * 2
    assert not any(p.facts[0] in text for text in author.asked for p in FORGET if p.facts[0] != "clocks")
    # The author writes the same for both subfields and readers, and what is written twice stands once.
    assert {row.answer for row in rows} == {
        f"Part {j} of {point} has words" for j in range(3) for point in ("what a spring is", "what a wheel is")
    }
    assert len(rows) == 6


def test_short_lines_and_marks_are_left_out():
    assert paragraphs("## A b c\n one  two\n\nthree", 2) == ["A b c", "one two"]
    assert variety(["a b c d", "a b c e"]) == pytest.approx(3 / 4)
    assert variety(["a b"]) != variety(["a b"])  # NaN


def test_the_forget_set_is_the_rows_and_who_has_none():
    rows = Textbook(chapters=1, audiences=1).write_with(None, FORGET[:2])
    put = retold([*FORGET, ALONE], rows)
    assert put == [*rows, *FORGET[2:], ALONE]


def test_bad_options_are_named():
    assert get_writer("textbook:by=original").needs == ("original",)
    for spec, match in (("by=me", "templates, original"), ("audiences=5", "at most 4"), ("words=0", "at least 1")):
        with pytest.raises(InputError, match=match):
            get_writer(f"textbook:{spec}")
