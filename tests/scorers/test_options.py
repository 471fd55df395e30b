"""The options of a question, and which of them a text picks."""

from __future__ import annotations

import pytest

from leakatk.scorers.base import score_texts
from leakatk.scorers.choice import choice_prompt


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
    from leakatk.prompts import load_prompts, save_prompts
    from leakatk.scorers.options import read_options

    prompt = choice_prompt("q", "Which?\nA. is no option", options, right)
    assert read_options(prompt) == (options, right, True)
    letters = "ABCDEFG"
    scores = score_texts("choice", [prompt] * len(options), [letters[i] for i in range(len(options))])
    assert scores.tolist() == [float(i == right) for i in range(len(options))]
    save_prompts([prompt], tmp_path / "p.jsonl")
    assert load_prompts(tmp_path / "p.jsonl") == [prompt]
