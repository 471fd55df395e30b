"""Entailment score (ES): does a natural-language-inference model say that the generation entails the truth?

As in Leak@k: 1 when the label is "entailment" and ROUGE-L recall is at least the gate, else 0. The gate costs nothing and
decides first, so that most pairs never reach the model. It reads a-z alone: answers in other scripts all reach the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, IntArray
from leakatk.scorers.checkpoint import CheckpointScorer
from leakatk.scorers.nli import entailed
from leakatk.scorers.rouge import rouge_l, where_read
from leakatk.scorers.text import well_formed


@SCORERS.register(
    "entailment",
    summary="1 if an NLI model says that the generation entails the truth (and ROUGE-L recall is at least .1)",
    formula="1 if NLI(generation => truth) is entailment and ROUGE-L recall >= gate, else 0",
    paper="Leak@k (ES), arXiv 2511.04934",
    rows=("59",),
)
@dataclass(frozen=True)
class Entailment(CheckpointScorer):
    """Blank generation: 0. Blank truth: NaN.

    direction "forget": the generation is the premise, the truth the hypothesis; "retain": the other way round.
    model: any sequence classifier with an entailment label, a directory or a hub id. gate: least ROUGE-L recall; there
    is none where ROUGE cannot read the answer (another script than a-z).
    """

    model: str = "sileod/deberta-v3-base-tasksource-nli"
    direction: Literal["forget", "retain"] = "forget"
    gate: float = 0.1

    def __post_init__(self) -> None:
        if self.direction not in ("forget", "retain"):
            raise InputError(f"Scorer option entailment:direction must be forget or retain, got {self.direction!r}.")
        if not 0 <= self.gate <= 1:
            raise InputError(f"Scorer option entailment:gate must lie between 0 and 1, got {self.gate}.")
        super().__post_init__()

    def passing(self, targets: Sequence[Prompt], generations: Sequence[str]) -> IntArray:
        """Indices of the pairs that pass the gate: only these reach the model.

        Where ROUGE cannot read the answer (another script) there is no gate: the model decides.
        """
        answers = [prompt.answer for prompt in targets]
        recall = where_read(answers, rouge_l(answers, generations).recall)
        said = np.array([bool(text.strip()) for text in generations], dtype=bool)
        asked = np.array([bool(answer.strip()) for answer in answers], dtype=bool)
        return np.flatnonzero(~(recall < self.gate) & said & asked)

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        scores = np.zeros(len(generations))
        passing = self.passing(targets, generations)
        pairs = [(well_formed(generations[i]), well_formed(targets[i].answer)) for i in passing]
        if self.direction == "retain":
            pairs = [(truth, said) for said, truth in pairs]
        if pairs:
            scores[passing] = entailed(self.model, pairs, batch_size=self.batch_size)
        scores[[not prompt.answer.strip() for prompt in targets]] = np.nan
        return scores
