"""Fact scorer: does the generation state the fact? Exact where the facts of an answer are known, as in the built-in world."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, Scorer
from leakatk.scorers.text import phrase


@SCORERS.register(
    "fact",
    summary="1 if every key value of the answer occurs",
    formula="1 if every string of `facts` occurs as whole words, else 0",
    paper="ours",
)
@dataclass(frozen=True)
class Fact(Scorer):
    """1 when every key value in `Prompt.facts` occurs (whole words; case, accents, number format aside), else 0.

    A prompt without facts asks for its whole answer; one without any word in them is undefined (NaN).
    """

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        facts = {id(p): [f for f in map(phrase, p.facts or (p.answer,)) if f.strip()] for p in targets}
        said = {text: phrase(text) for text in generations}
        scores = np.full(len(targets), np.nan)
        for i, (prompt, text) in enumerate(zip(targets, generations, strict=True)):
            if wanted := facts[id(prompt)]:
                scores[i] = all(fact in said[text] for fact in wanted)
        return scores
