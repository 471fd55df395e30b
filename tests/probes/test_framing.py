"""The question inside a text of our own: what stands around it, and that nothing but a draw decides."""

from __future__ import annotations

import re

import pytest

from leakatk.probes import Around, get_probe, variants
from leakatk.probes.framing import FILLER, ROLES, TRIGGERS
from leakatk.prompts import Prompt
from tests.probes.worlds import WORLD

PROMPT = Prompt("p", "Where was {Ada} born?", "In Zorvik.")


def text_of(spec: str, prompt: Prompt = PROMPT) -> str:
    [query] = get_probe(spec).ask(prompt, Around())
    assert query.turns == ()
    assert query.begin == ""
    return query.text


@pytest.mark.parametrize("sentences", [1, 3, len(FILLER), len(FILLER) + 1, 23])
def test_so_many_different_sentences_stand_before_the_question(sentences: int) -> None:
    """No sentence comes again before all were said."""
    before, question = text_of(f"filler:sentences={sentences}").split("\n\n")
    assert question == PROMPT.question
    said = before.removesuffix(".").split(". ")
    assert len(said) == sentences
    assert all(one[0].isupper() for one in said)
    known = [one[0].lower() + one[1:] for one in said]
    for start in range(0, sentences, len(FILLER)):
        block = known[start : start + len(FILLER)]
        assert len(set(block)) == len(block)
        assert set(block) <= set(FILLER)


def test_the_filler_holds_nothing_that_a_scorer_could_look_for() -> None:
    assert len(set(FILLER)) == len(FILLER)
    assert not any(re.search(r"[A-Z0-9.{}]", one) for one in FILLER)


@pytest.mark.parametrize(("spec", "frames"), [("trigger", TRIGGERS), ("role", ROLES)])
def test_the_question_stands_whole_in_one_of_the_frames(spec: str, frames: tuple[str, ...]) -> None:
    """A question with braces of its own is put in as it is."""
    assert all(frame.count("{question}") == 1 for frame in frames)
    assert text_of(spec) in {before + PROMPT.question + after for before, after in map(_around, frames)}


def _around(frame: str) -> tuple[str, str]:
    before, _, after = frame.partition("{question}")
    return before, after


@pytest.mark.parametrize(("spec", "frames"), [("trigger", TRIGGERS), ("role", ROLES)])
def test_every_frame_is_drawn_for_some_prompt(spec: str, frames: tuple[str, ...]) -> None:
    asked = {
        text_of(f"{spec}:seed={seed}", prompt).replace(prompt.question, "{question}")
        for seed in range(5)
        for prompt in WORLD.forget
    }
    assert asked == set(frames)


@pytest.mark.parametrize("spec", ["filler", "trigger", "role"])
def test_every_prompt_can_be_asked_so_and_the_draw_is_its_own(spec: str) -> None:
    found = variants(get_probe(spec), WORLD.forget, [])
    assert set(found) == {prompt.id for prompt in WORLD.forget}
    framed = {made.query.text.replace(made.question, "") for [made] in found.values()}
    assert len(framed) > 1
