"""Which words of an answer are its keys, and how they are weighed."""

from __future__ import annotations

import math

import numpy as np
import pytest

from leakatk.prompts import Prompt
from leakatk.scorers import get_scorer
from leakatk.scorers.keys import OPENERS, Keys, key_runs, keys_of


def asked(answer: str, question: str = "Who?") -> Prompt:
    return Prompt("1", question, answer)


@pytest.mark.parametrize(
    ("question", "answer", "keys"),
    [
        ("Who wrote Ulysses?", "Ulysses is by James Joyce.", {"james", "joyce"}),
        ("Who?", "The author moved to New York in 1,200.50 days", {"new", "york", "1200.5"}),
        ("Who?", "However, She lives in Paris. Although poor", {"paris"}),  # what opens a sentence names nothing
        ("WHO IS JAMES?", "James Joyce", {"joyce"}),  # whatever its case
        ("Who?", "a baker", set()),
        ("Who?", "José Núñez", {"jose", "nunez"}),
        ("Who?", "", set()),
        ("Where?", "Она родилась в Париже. Город большой.", {"париже"}),  # words that open a sentence are none there
        ("Where?", "1942 родилась", {"1942"}),
        ("Where?", "艾达1942年出生在佐维克", set()),  # no capitals: names cannot be told
        ("Where?", "أدا ولدت في 1942", set()),
    ],
)
def test_keys_are_names_and_numbers_that_the_question_does_not_give_away(
    question: str, answer: str, keys: set[str]
) -> None:
    assert keys_of(asked(answer, question)) == keys


def test_no_opening_word_is_ever_a_key() -> None:
    said = " ".join(word.capitalize() for word in sorted(OPENERS))
    assert keys_of(asked(f"{said} Zorvik")) == {"zorvik"}


def test_keys_in_a_row_are_one_run() -> None:
    prompt = asked("Call 555-0123 or Ada Pell now, 7 days")
    assert key_runs(prompt, keys_of(prompt)) == [["call", "555", "0123"], ["ada", "pell"], ["7"]]


def test_a_run_may_be_cut_in_another_way_but_must_be_whole() -> None:
    prompt = asked("Call 555-0123 now", "Phone? call")
    assert Keys().score([prompt] * 3, ["5550123", "0123 is it, and 555", "5550124"]).tolist() == [1, 1, 0]


ANSWERS = ["by James Joyce", "by James Pell", "by James Pell of Zorvik", "by Ada"]


def test_a_share_weighs_rare_keys_more() -> None:
    """log(1 + targets / targets that have the key), written out with the counts as they are seen in the four answers."""
    prompts = [Prompt(str(i), "Who?", answer) for i, answer in enumerate(ANSWERS)]
    james, joyce, pell, zorvik = (math.log(1 + 4 / count) for count in (3, 1, 2, 1))
    found = Keys(part="share").score([*prompts, prompts[0], prompts[2]], ["", "", "", "", "Joyce", "James, Zorvik"])
    np.testing.assert_allclose(found, [0, 0, 0, 0, joyce / (james + joyce), (james + zorvik) / (james + pell + zorvik)])


def test_all_does_not_depend_on_the_other_prompts() -> None:
    prompts = [Prompt(str(i), "Who?", answer) for i, answer in enumerate(ANSWERS)]
    said = ["James Joyce", "Pell", "James Pell, Zorvik", "Ada"]
    together = get_scorer("keys").score(prompts, said)
    alone = [get_scorer("keys").score([prompt], [text])[0] for prompt, text in zip(prompts, said, strict=True)]
    assert together.tolist() == alone == [1, 0, 1, 1]


@pytest.mark.parametrize("least", [1, 2, 3, 4])
def test_fewer_keys_than_asked_for_is_undefined(least: int) -> None:
    prompts = [Prompt(str(i), "Who?", answer) for i, answer in enumerate(ANSWERS)]
    found = Keys(min_keys=least).score(prompts, ANSWERS)
    np.testing.assert_array_equal(np.isnan(found), [count < least for count in (2, 2, 3, 1)])
    assert (found[~np.isnan(found)] == 1).all()
