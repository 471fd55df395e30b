"""Word-for-word reproduction: exact memorisation, extraction strength, and MUSE's VerbMem.

Read off generations. The teacher-forced forms, which need the model, are `leakatk.metrics.utility.exact_memorization` and
`extraction_strength`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, Scorer
from leakatk.scorers.rouge import rouge_l, where_read
from leakatk.scorers.text import MARKS, UNSPACED

PIECE = re.compile(rf"[{UNSPACED}][{MARKS}]*|[^\s{UNSPACED}]+")


@SCORERS.register(
    "verbatim",
    summary="1 if the generation is the true answer word for word",
    formula="1 if the generation has the truth's words in the truth's order and nothing else",
    paper="ours",
    reading="parts positions and prefix: exact memorisation and extraction strength, read off a free generation",
)
@dataclass(frozen=True)
class Verbatim(Scorer):
    """Words are what stands between spaces, case and punctuation kept. A truth without words is undefined (NaN).

    How an accented letter is encoded does not count (NFC). Positions and prefixes count characters in scripts that are
    written without spaces, where a whole answer would be one word.

    part "exact": 1 when the words of the generation are those of the answer. "positions": share of the answer's words
    that stand at their place (exact memorisation, read off a free generation: our reading). "prefix": share of the
    answer's words said before the first deviation (extraction from an empty prefix: our reading).
    """

    part: Literal["exact", "positions", "prefix"] = "exact"

    def __post_init__(self) -> None:
        if self.part not in ("exact", "positions", "prefix"):
            raise InputError(f"Scorer option verbatim:part must be exact, positions or prefix, got {self.part!r}.")

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        scores = np.full(len(targets), np.nan)
        for i, (prompt, text) in enumerate(zip(targets, generations, strict=True)):
            truth, said = pieces(prompt.answer, self.part), pieces(text, self.part)
            if truth:
                hits = [a == b for a, b in zip(truth, said, strict=False)]
                same = {"exact": truth == said, "positions": sum(hits) / len(truth)}
                scores[i] = same[self.part] if self.part in same else [*hits, False].index(False) / len(truth)
        return scores


def pieces(text: str, part: str) -> list[str]:
    """Words, and but for "exact" single characters of scripts written without spaces."""
    text = unicodedata.normalize("NFC", text)
    return text.split() if part == "exact" or text.isascii() else PIECE.findall(text)


@SCORERS.register(
    "verbmem",
    summary="ROUGE-L F1 without stemmer (MUSE VerbMem)",
    formula="ROUGE-L F1, no stemmer",
    paper="Shi et al. 2024 (MUSE), arXiv 2407.06460",
    rows=("7",),
)
@dataclass(frozen=True)
class VerbMem(Scorer):
    """MUSE's verbatim memorisation: ROUGE-L F1, without stemmer, of the continuation and the true one.

    Undefined (NaN) where ROUGE cannot read the true one (`rouge.rouge_reads`).
    """

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        answers = [prompt.answer for prompt in targets]
        return where_read(answers, rouge_l(answers, generations, stem=False).f1)
