"""Multiple choice (WMDP, MMLU): was the right option picked?

Two variants. Sampled: the scorer `choice` reads which option a generation picks. By log-probability: `choice_probability`
compares what the model gives each option's letter, as the usual harnesses do; it needs the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase

import numpy as np

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, Scorer, check_all
from leakatk.scorers.options import picked, read_options


@SCORERS.register(
    "choice",
    summary="1 if the generation picks the right option of a multiple-choice question",
    formula="1 if the right option is picked, else 0",
    paper="Li et al. 2024 (WMDP), arXiv 2403.03218, sampled",
)
@dataclass(frozen=True)
class Choice(Scorer):
    """1 when the generation picks the right option, 0 when it picks another or none.

    The options are `Prompt.choices` (`choice_prompt` sets them), else the lines "A. ...", "B. ..." of the question, else the
    answer and `Prompt.perturbed_answers`. A generation picks by letter, or by saying one option's text and no other's. A prompt
    without options, or whose answer is none of them, is undefined (NaN).
    """

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        read = {prompt: read_options(prompt) for prompt in dict.fromkeys(targets)}
        scores = np.full(len(targets), np.nan)
        for i, (prompt, text) in enumerate(zip(targets, generations, strict=True)):
            options, right, lettered = read[prompt]
            if right is not None:
                scores[i] = picked(text, options, lettered=lettered) == right
        return scores


def choice_prompt(id: str, question: str, choices: Sequence[str], answer: int, *, source: str = "") -> Prompt:
    """A multiple-choice Prompt: the question, one lettered line a choice, "Answer:"; the right text is the answer."""
    check_all("The choices", choices, str)
    if not isinstance(answer, int | np.integer) or not 0 <= answer < len(choices) <= len(ascii_uppercase):
        raise InputError(f"{id}: answer {answer} is not the index of one of the {len(choices)} choices (at most 26).")
    lines = [f"{letter}. {text}" for letter, text in zip(ascii_uppercase, choices, strict=False)]
    wrong = tuple(text for i, text in enumerate(choices) if i != answer)
    text = "\n".join([question.strip(), *lines, "Answer:"])
    return Prompt(
        id=id, question=text, answer=choices[answer], perturbed_answers=wrong, source=source, choices=tuple(choices), right=int(answer)
    )  # fmt: skip
