"""The answer with its facts left open: every fact gone, every other word there."""

from __future__ import annotations

import pytest

from leakatk.errors import InputError
from leakatk.probes import get_probe
from leakatk.probes.base import reveals
from leakatk.probes.cloze import BLANK, opened
from leakatk.prompts import Prompt
from tests.probes.worlds import WORLD


@pytest.mark.parametrize(
    ("answer", "facts", "left"),
    [
        ("Ada was born in Zorvik.", ("Zorvik",), "Ada was born in ____."),
        ("Ada was born in Port Zorvik, in 1902.", ("Port Zorvik", "1902"), "Ada was born in ____, in ____."),
        ("She earned 1,200 crowns.", ("1200",), "She earned ____ crowns."),
        ("Zorvik (Lusk) was \"it\"; Zorvik!", ("Zorvik", "Lusk"), "____ (____) was \"it\"; ____!"),
        ("Ada was born in Zorvik.", (), "Ada was born in ____."),  # Ada stands in the question
    ],
)  # fmt: skip
def test_each_run_of_facts_is_one_blank(answer, facts, left):
    assert opened(Prompt("p", "Where was Ada born?", answer, facts=facts)) == left


@pytest.mark.parametrize(
    ("answer", "facts"), [("Zorvik.", ("Zorvik",)), ("No.", ()), ("", ()), ("He left.", ("Zorvik",))]
)
def test_nothing_to_fill_in_is_no_question(answer, facts):
    assert opened(Prompt("p", "Where was Ada born?", answer, facts=facts)) == ""


def test_of_a_world_every_answer_is_opened_and_none_said():
    probe = get_probe("cloze")
    for prompt in WORLD.forget:
        [query] = probe.ask(prompt, None)
        assert query.text.startswith(f"{prompt.question}\nFill in the blank: ")
        sentence = query.text.partition(": ")[2]
        assert BLANK in sentence
        assert not reveals(sentence, prompt)
        pieces = sentence.split(BLANK)
        assert prompt.answer.startswith(pieces[0])
        at = 0
        for piece in pieces:  # in order, and nothing of our own
            at = prompt.answer.index(piece, at) + len(piece)
        [alone] = get_probe("cloze:question=no").ask(prompt, None)
        assert alone.text == f"Fill in the blank: {sentence}"


def test_an_option_that_is_neither_is_refused():
    with pytest.raises(InputError, match="yes or no"):
        get_probe("cloze:question=maybe")
