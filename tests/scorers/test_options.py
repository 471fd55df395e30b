"""The options of a question, and which of them a text picks."""

from __future__ import annotations

import pytest

from leakatk.prompts import Prompt, load_prompts, save_prompts
from leakatk.scorers.base import score_texts
from leakatk.scorers.choice import choice_prompt
from leakatk.scorers.options import picked, read_options


@pytest.mark.parametrize(
    "options",
    [
        ["A. one", "B. two", "C. three"],  # options that look like letters
        ["if x:\n    B. y", "for y in z:\n    pass", "return"],  # code of several lines
        ["same", "same", "other"],  # equal texts: the index decides
        ["B", "A", "D", "C"],  # letters as options
        ["(1)", "x = A.b", "A) no", "Answer: B"],
    ],
)
@pytest.mark.parametrize("right", [0, 1, 2])
def test_options_are_those_of_the_prompt_whatever_they_look_like(options, right, tmp_path) -> None:
    prompt = choice_prompt("q", "Which?\nA. is no option", options, right)
    assert read_options(prompt) == (options, right, True)
    letters = "ABCDEFG"
    scores = score_texts("choice", [prompt] * len(options), [letters[i] for i in range(len(options))])
    assert scores.tolist() == [float(i == right) for i in range(len(options))]
    save_prompts([prompt], tmp_path / "p.jsonl")
    assert load_prompts(tmp_path / "p.jsonl") == [prompt]


LETTERED = "Where?\nA. Paris\nB. Rome\nC. Paris, Texas"


@pytest.mark.parametrize(
    ("prompt", "options", "right", "lettered"),
    [
        (Prompt("1", LETTERED, "Rome"), ["Paris", "Rome", "Paris, Texas"], 1, True),
        (Prompt("1", LETTERED, "C"), ["Paris", "Rome", "Paris, Texas"], 2, True),
        (Prompt("1", LETTERED, "rome."), ["Paris", "Rome", "Paris, Texas"], 1, True),  # case and punctuation apart
        (Prompt("1", LETTERED, "Oslo"), ["Paris", "Rome", "Paris, Texas"], None, True),
        (Prompt("1", "Which?\n(A) x = 1\n(B) X = 1", "X = 1"), ["x = 1", "X = 1"], 1, True),  # to the letter first
        (Prompt("1", "Which?\nA) one\nB) two\n  more", "two\n  more"), ["one", "two"], 1, True),
        (Prompt("1", "Which?\nA. one\nC. two", "one", perturbed_answers=("two",)), ["one", "two"], 0, False),
        (Prompt("1", "Which?\nA. one", "one"), ["one"], None, False),
        (Prompt("1", "Where?", "Rome", perturbed_answers=("Oslo",)), ["Rome", "Oslo"], 0, False),
        (Prompt("1", "Where?", "Rome", perturbed_answers=("rome",)), ["Rome", "rome"], 0, False),
        (Prompt("1", "Where?", "Rome", perturbed_answers=("Rome",)), ["Rome", "Rome"], None, False),
        (Prompt("1", "Where?", "Rome"), ["Rome"], None, False),
    ],
)
def test_options_of_the_question_or_of_the_answers(prompt, options, right, lettered) -> None:
    assert read_options(prompt) == (options, right, lettered)


FOUR = ["Paris", "Rome", "Paris, Texas", "Oslo"]


@pytest.mark.parametrize("index", range(4))
@pytest.mark.parametrize(
    "form",
    ["{}", "{}.", "({}) and so on", " **{}**", '"{}"', "{}:\nbecause", "The answer is {}.", "I say: option {}", "ANSWER: ({})",
     "my choice is {}", "答案是{}。", "ответ {}"],
)  # fmt: skip
def test_a_letter_is_read_in_every_form(form: str, index: int) -> None:
    assert picked(form.format("ABCD"[index]), FOUR, lettered=True) == index


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("E", None),  # no such option
        ("It is A or B", None),
        ("A city in the north, Oslo", 3),  # an article, not a letter
        ("answer B's brother", None),
        ("答案是A或B。", None),
        ("in rome!", 1),
        ("Paris, Texas", 2),  # the longer option is meant
        ("Paris and Rome", None),
        ("Romeo", None),
        ("", None),
    ],
)
def test_what_a_text_picks(text: str, index: int | None) -> None:
    assert picked(text, FOUR, lettered=True) == index


def test_letters_pick_nothing_where_the_question_has_none() -> None:
    assert picked("B", FOUR, lettered=False) is None
    assert picked("Oslo", FOUR, lettered=False) == 3


def test_every_option_picks_itself() -> None:
    for i, option in enumerate(FOUR):
        for lettered in (True, False):
            assert picked(option, FOUR, lettered=lettered) == i
