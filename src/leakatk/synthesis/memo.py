"""MEMO: how much of an answer a model says when it is given the question and the answer's beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.prompts import Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.rouge import rouge_1

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

STEP = 5  # characters between one beginning and the next
TOKENS = 200  # of a continuation, at most


def cuts(answer: str, step: int = STEP) -> list[tuple[str, str]]:
    """(beginning, rest) of an answer cut after 1, 1 + step, 1 + 2 step ... characters. InputError for a step below 1.

    >>> cuts("In Bex.", 5)
    [('I', 'n Bex.'), ('In Bex', '.')]
    """
    if step < 1:
        raise InputError(f"The step of MEMO must be at least 1 character, got {step}.")
    return [(answer[:end], answer[end:]) for end in range(1, len(answer), step)]


def begun(question: str, answer: str, step: int = STEP) -> list[Query]:
    """What is put to the model: the question, with each beginning of the answer already said."""
    return [Query(question, begin=beginning) for beginning, _ in cuts(answer, step)]


def memo(answers: Sequence[str], said: Sequence[Sequence[str]], step: int = STEP, part: str = "precision") -> Floats:
    """(m,) the mean over an answer's beginnings of ROUGE-1 between what was said after each and the rest; NaN without a beginning.

    said: of each answer, a continuation for each of its `cuts`.  part: precision, as in the authors' code, or recall or f1.
    """
    rests = [[rest for _, rest in cuts(answer, step)] for answer in answers]
    if [len(row) for row in rests] != [len(row) for row in said]:
        raise InputError("MEMO needs one continuation for each beginning of each answer.")
    found = rouge_1([rest for row in rests for rest in row], [text for row in said for text in row])
    values = iter(getattr(found, part))
    each = [[next(values) for _ in row] for row in rests]
    return np.array([float(np.mean(row)) if row else np.nan for row in each])


def memo_of(
    sampler: Sampler, prompts: Sequence[Prompt], step: int = STEP, tokens: int = TOKENS, part: str = "precision"
) -> Floats:
    """(m,) MEMO of each prompt's answer under the model of an engine, by greedy continuations of at most so many tokens."""
    asked = [
        replace(prompt, id=f"{number}/{place}", asked=query)
        for number, prompt in enumerate(prompts)
        for place, query in enumerate(begun(prompt.question, prompt.answer, step))
    ]
    decoding = Decoding(temperature=0.0, max_new_tokens=tokens)
    texts = iter(texts_of(sampler, asked, 1, decoding, seed=0) if asked else [])
    said = [[next(texts)[0] for _ in cuts(prompt.answer, step)] for prompt in prompts]
    return memo([prompt.answer for prompt in prompts], said, step, part)
