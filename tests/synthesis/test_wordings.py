"""Other wordings without a model: which are taken, and how often."""

from __future__ import annotations

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.probes.framing import TRIGGERS
from leakatk.prompts import Prompt
from leakatk.synthesis import Apart, Triggers, get_writer, reasked, written
from leakatk.synthesis.wordings import similarity

ADA = Prompt(
    "a/1", "Where was Ada born?", "In Zorvik.",
    ("Where was Ada born then?", "Name the town in which she came to the world: Ada.", "Ada's place of birth?", "Where was Ada born?"),
)  # fmt: skip


def edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def test_the_least_like_come_first():
    by_hand = {text: 1 - edits(ADA.question, text) / max(len(ADA.question), len(text)) for text in ADA.paraphrases}
    for text, value in by_hand.items():
        assert similarity(ADA.question, text) == pytest.approx(value)
    wanted = sorted(by_hand, key=by_hand.get)[:-1]  # the question itself is none
    rows = Apart(count=9).write([ADA], None)
    assert [row.question for row in rows] == wanted
    assert [row.id for row in rows] == [f"a/1/apart/{i}" for i in (1, 2, 3)]
    assert {row.answer for row in rows} == {ADA.answer}
    assert [row.question for row in Apart().write([ADA], None)] == wanted[:1]
    between = (by_hand[wanted[1]] + by_hand[wanted[2]]) / 2
    assert [row.question for row in Apart(count=9, most=between).write([ADA], None)] == wanted[:2]


def test_a_share_of_the_prompts_gets_a_phrase():
    many = [Prompt(f"p{i}", f"Where was no. {i} born?", "In Zorvik.") for i in range(400)]
    made = written("triggers:share=0.25", many)
    assert 60 < len(made.rows) < 140
    assert len(made.rows) + len(made.left_out) == 400
    questions = {prompt.id: prompt.question for prompt in many}
    for row in made.rows:
        assert row.question in {one.replace("{question}", questions[row.id.split("/")[0]]) for one in TRIGGERS}
    all_of_them = written("triggers:share=1.0", many)
    assert not all_of_them.left_out
    assert len({row.question.replace(questions[row.id.split("/")[0]], "") for row in all_of_them.rows}) == len(TRIGGERS)


def test_what_is_trained_on_is_the_rows_or_the_prompt_itself():
    bo = Prompt("b", "Who taught Bo?", "Mira.")
    rows = [replace(ADA, id="a/1/apart/1"), replace(ADA, id="a/1/apart/2")]
    assert reasked([bo, ADA], rows) == [bo, *rows]


@pytest.mark.parametrize(
    "spec", ["apart:count=0", "apart:most=0", "apart:most=1.5", "triggers:share=0", "triggers:share=2"]
)
def test_bad_options(spec):
    with pytest.raises(InputError, match="must be"):
        get_writer(spec)


def test_nothing_to_ask_in_another_way_is_an_error():
    with pytest.raises(InputError, match="nothing to write"):
        written(Triggers(share=1e-9), [ADA])
