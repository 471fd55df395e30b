"""ROUGE-L (longest common subsequence of words) and ROUGE-1 (common words), equal to the rouge-score package bit for bit.

Chin-Yew Lin, "ROUGE: a package for automatic evaluation of summaries", 2004. Words are lower-cased runs of a-z and 0-9;
with `stem`, words of more than three letters are reduced by Porter's algorithm. TOFU and Leak@k: recall with stemmer.
MUSE: without.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from leakatk.data import Prompt
from leakatk.errors import InputError
from leakatk.scorers.base import SCORERS, FloatArray, Scorer, check_all
from leakatk.scorers.porter import stem as porter_stem

WORD = re.compile("[a-z0-9]+")


class Rouge(NamedTuple):
    """Arrays, one value a pair."""

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray


class _Alphabet(dict[str, str]):
    """Word -> one character standing for its stem, so that the subsequence search runs on native strings.

    Stems that no reference holds cannot match and share one character: an alphabet never outgrows its references.
    """

    OTHER = chr(0)

    def __init__(self, references: Iterable[str], *, stem: bool) -> None:
        super().__init__()
        self._stem = stem
        self._letters: dict[str, str] = {}
        for text in references:
            for word in WORD.findall(text.lower()):
                self._letters.setdefault(self._root(word), chr(len(self._letters) + 1))

    def _root(self, word: str) -> str:
        return porter_stem(word) if self._stem and len(word) > 3 else word

    def __missing__(self, word: str) -> str:
        letter = self[word] = self._letters.get(self._root(word), self.OTHER)
        return letter

    def encode(self, text: str) -> str:
        return "".join(map(self.__getitem__, WORD.findall(text.lower())))


def rouge_l(references: Sequence[str], generations: Sequence[str], *, stem: bool = True) -> Rouge:
    """ROUGE-L of parallel lists of texts. A side without any word gives 0, as in rouge-score."""
    truth, said = _encoded(references, generations, stem=stem)
    common = cpdist(truth, said, scorer=LCSseq.similarity, dtype=np.int32).astype(np.float64)
    return _rouge(common, truth, said)


def rouge_1(references: Sequence[str], generations: Sequence[str], *, stem: bool = True) -> Rouge:
    """ROUGE-1 of parallel lists of texts: words in common, repeats counted."""
    truth, said = _encoded(references, generations, stem=stem)
    counts = {text: Counter(text) for text in {*truth, *said}}
    common = np.fromiter(((counts[a] & counts[b]).total() for a, b in zip(truth, said, strict=True)), dtype=np.float64)
    return _rouge(common, truth, said)


def _encoded(references: Sequence[str], generations: Sequence[str], *, stem: bool) -> tuple[list[str], list[str]]:
    check_all("The references", references, str)
    check_all("The generations", generations, str)
    if len(references) != len(generations):
        raise InputError(f"{len(references)} references for {len(generations)} generations; give one for each.")
    alphabet = _Alphabet(dict.fromkeys(references), stem=stem)
    encoded = {text: alphabet.encode(text) for text in {*references, *generations}}
    return [encoded[text] for text in references], [encoded[text] for text in generations]


def _rouge(common: FloatArray, truth: Sequence[str], said: Sequence[str]) -> Rouge:
    precision = common / np.maximum(_lengths(said), 1)
    recall = common / np.maximum(_lengths(truth), 1)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return Rouge(precision, recall, f1)


def _lengths(texts: Iterable[str]) -> FloatArray:
    return np.fromiter(map(len, texts), dtype=np.float64)


@SCORERS.register("rouge-l")
@dataclass(frozen=True)
class RougeL(Scorer):
    """part: recall | precision | f1.  stem: Porter's stemmer on or off."""

    name = "rouge-l"
    summary = "longest common subsequence of (stemmed) words, over the length of the true answer"

    part: Literal["recall", "precision", "f1"] = "recall"
    stem: bool = True

    def __post_init__(self) -> None:
        if self.part not in Rouge._fields:
            raise InputError(f"Scorer option {self.name}:part must be recall, precision or f1, got {self.part!r}.")

    def score_distinct(self, references: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        scores: FloatArray = getattr(self._rouge([p.answer for p in references], generations), self.part)
        return scores

    def _rouge(self, references: Sequence[str], generations: Sequence[str]) -> Rouge:
        return rouge_l(references, generations, stem=self.stem)


@SCORERS.register("rouge-1")
@dataclass(frozen=True)
class Rouge1(RougeL):
    """As rouge-l, for words in any order."""

    name = "rouge-1"
    summary = "(stemmed) words in common, over the length of the true answer"

    def _rouge(self, references: Sequence[str], generations: Sequence[str]) -> Rouge:
        return rouge_1(references, generations, stem=self.stem)
