"""Word-for-word reproduction: exact memorisation, extraction strength, and MUSE's VerbMem.

From generations: the scorers `verbatim` and `verbmem`. From a model, by teacher forcing: `exact_memorization` and
`extraction_strength` of `token_hits(model, prompts)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from leakatk.data import Prompt
from leakatk.errors import InputError
from leakatk.scorers.base import SCORERS, FloatArray, Scorer
from leakatk.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from leakatk.models import LoadedModel


@SCORERS.register("verbatim")
@dataclass(frozen=True)
class Verbatim(Scorer):
    """Words are what stands between spaces, case and punctuation kept. A truth without words is undefined (NaN).

    part "exact": 1 when the words of the generation are those of the answer. "positions": share of the answer's words
    that stand at their place (exact memorisation, read off a free generation: our reading). "prefix": share of the
    answer's words said before the first deviation (extraction from an empty prefix: our reading).
    """

    name = "verbatim"
    summary = "1 if the generation is the true answer word for word"

    part: Literal["exact", "positions", "prefix"] = "exact"

    def __post_init__(self) -> None:
        if self.part not in ("exact", "positions", "prefix"):
            raise InputError(f"Scorer option verbatim:part must be exact, positions or prefix, got {self.part!r}.")

    def score_distinct(self, references: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        scores = np.full(len(references), np.nan)
        for i, (prompt, text) in enumerate(zip(references, generations, strict=True)):
            truth, said = prompt.answer.split(), text.split()
            if truth:
                hits = [a == b for a, b in zip(truth, said, strict=False)]
                same = {"exact": truth == said, "positions": sum(hits) / len(truth)}
                scores[i] = same[self.part] if self.part in same else [*hits, False].index(False) / len(truth)
        return scores


@SCORERS.register("verbmem")
@dataclass(frozen=True)
class VerbMem(Scorer):
    """MUSE's verbatim memorisation: ROUGE-L F1, without stemmer, of the continuation and the true one."""

    name = "verbmem"
    summary = "ROUGE-L F1 without stemmer (MUSE VerbMem)"

    def score_distinct(self, references: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        return rouge_l([prompt.answer for prompt in references], generations, stem=False).f1


def token_hits(model: LoadedModel, prompts: Sequence[Prompt]) -> list[NDArray[np.bool_]]:
    """Per answer, for each token (the end token last): does greedy decoding choose it, given the true ones before?"""
    from leakatk.sampling.decoding import Decoding
    from leakatk.sampling.exact import answer_logprob_steps

    greedy = Decoding(temperature=0, max_new_tokens=1 << 20)
    return [np.isfinite(steps) for steps in answer_logprob_steps(model, prompts, greedy)]


def exact_memorization(hits: Sequence[ArrayLike]) -> FloatArray:
    """Per answer, the share of tokens that are the model's first choice (Tirumala et al. 2022). NaN without tokens."""
    rows = [np.asarray(row, dtype=bool) for row in hits]
    return np.array([row.mean() if row.size else np.nan for row in rows], dtype=np.float64)


def extraction_strength(hits: Sequence[ArrayLike]) -> FloatArray:
    """Per answer, 1 - (shortest true prefix after which the rest is all first choices) / length. NaN without tokens.

    Carlini et al. 2021 define it by free generation; the teacher-forced form is the field's (greedy decoding goes on
    correctly from a prefix exactly when every later token is the first choice).
    """
    strengths = []
    for row in hits:
        misses = np.flatnonzero(~np.asarray(row, dtype=bool))
        length = np.size(np.asarray(row))
        start = misses[-1] + 1 if misses.size else 0
        strengths.append(1 - start / length if length else np.nan)
    return np.array(strengths, dtype=np.float64)
