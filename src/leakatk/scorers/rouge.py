"""ROUGE-L and ROUGE-1, equal to the rouge-score package bit for bit: longest common subsequence, and common words.

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

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.base import SCORERS, FloatArray, Scorer, check_all
from leakatk.scorers.porter import stem as porter_stem

WORD = re.compile("[a-z0-9]+")


class Rouge(NamedTuple):
    """Arrays, one value a pair."""

    precision: FloatArray
    recall: FloatArray
    f1: FloatArray


class _Roots(dict[str, str]):
    """Word -> stem. Kept between calls: a word is stemmed once, however often it occurs; words of three letters stay."""

    MOST = 1 << 19  # words; what comes after is stemmed afresh, so that hostile texts cannot fill the memory

    def __missing__(self, word: str) -> str:
        root = porter_stem(word) if len(word) > 3 else word
        if len(self) < self.MOST:
            self[word] = root
        return root


ROOTS = _Roots()
SPACED = "".join(c if "a" <= c <= "z" or "0" <= c <= "9" else " " for c in map(chr, range(128)))


def rouge_words(text: str) -> list[str]:
    """The words as rouge-score sees them: runs of a-z and 0-9 of the lower-cased text."""
    text = text.lower()
    return text.translate(SPACED).split() if text.isascii() else WORD.findall(text)


class _Alphabet(dict[str, str]):
    """Word -> one character standing for its stem, so that the subsequence search runs on native strings.

    Words met before `closed` come from targets. Later ones whose stem no target holds cannot match and share one
    character: an alphabet never outgrows its targets.
    """

    OTHER = chr(0)

    def __init__(self, *, stem: bool) -> None:
        super().__init__()
        self._stem, self.closed = stem, False
        self._letters: dict[str, str] = {}

    def __missing__(self, word: str) -> str:
        root = ROOTS[word] if self._stem else word
        known = self._letters.get(root, self.OTHER)
        if known == self.OTHER and not self.closed:
            known = self._letters[root] = chr(len(self._letters) + 1)
        self[word] = known
        return known

    def encode(self, texts: Iterable[str]) -> dict[str, str]:
        return {text: "".join(map(self.__getitem__, rouge_words(text))) for text in texts}


def rouge_reads(answer: str) -> bool:
    """Whether ROUGE can score this answer: it has a word of a-z and 0-9, and most of its letters and digits are such.

    Everything else is invisible to rouge-score, which gives 0 even to a word-for-word copy in another script. Accented
    letters count as lost too; an answer that keeps half of its letters or more is scored as published.
    """
    text = answer.lower()
    read = sum(map(len, rouge_words(text)))
    return read > 0 and 2 * read >= sum(map(str.isalnum, text))


def rouge_l(targets: Sequence[str], generations: Sequence[str], *, stem: bool = True) -> Rouge:
    """ROUGE-L of parallel lists of texts. A side without any word gives 0, as in rouge-score (see `rouge_reads`)."""
    truth, said = _encoded(targets, generations, stem=stem)
    common = cpdist(truth, said, scorer=LCSseq.similarity, dtype=np.int32).astype(np.float64)
    return _rouge(common, truth, said)


def rouge_1(targets: Sequence[str], generations: Sequence[str], *, stem: bool = True) -> Rouge:
    """ROUGE-1 of parallel lists of texts: words in common, repeats counted."""
    truth, said = _encoded(targets, generations, stem=stem)
    counts = {text: Counter(text) for text in {*truth, *said}}
    common = np.fromiter(((counts[a] & counts[b]).total() for a, b in zip(truth, said, strict=True)), dtype=np.float64)
    return _rouge(common, truth, said)


def _encoded(targets: Sequence[str], generations: Sequence[str], *, stem: bool) -> tuple[list[str], list[str]]:
    check_all("The targets", targets, str)
    check_all("The generations", generations, str)
    if len(targets) != len(generations):
        raise InputError(f"{len(targets)} targets for {len(generations)} generations; give one for each.")
    alphabet = _Alphabet(stem=stem)
    encoded = alphabet.encode(dict.fromkeys(targets))
    alphabet.closed = True
    encoded |= alphabet.encode({*generations} - encoded.keys())
    return [encoded[text] for text in targets], [encoded[text] for text in generations]


def _rouge(common: FloatArray, truth: Sequence[str], said: Sequence[str]) -> Rouge:
    precision = common / np.maximum(_lengths(said), 1)
    recall = common / np.maximum(_lengths(truth), 1)
    total = precision + recall
    f1 = np.divide(2 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return Rouge(precision, recall, f1)


def _lengths(texts: Iterable[str]) -> FloatArray:
    return np.fromiter(map(len, texts), dtype=np.float64)


def where_read(answers: Sequence[str], scores: FloatArray) -> FloatArray:
    """The scores, NaN where `rouge_reads` says that ROUGE cannot score the answer."""
    reads = {answer: rouge_reads(answer) for answer in set(answers)}
    return np.where([reads[answer] for answer in answers], scores, np.nan)


@SCORERS.register(
    "rouge-l",
    summary="longest common subsequence of (stemmed) words, over the length of the true answer",
    formula="LCS(truth, generation) / words of the truth (recall)",
    paper="Lin 2004 (ROUGE), bit for bit the rouge-score package; the TOFU and Leak@k setting has the stemmer on",
)
@dataclass(frozen=True)
class RougeL(Scorer):
    """part: recall | precision | f1.  stem: Porter's stemmer on or off.

    Undefined (NaN) where most letters of the answer are not a-z or 0-9 (`rouge_reads`): another script, emoji.
    """

    part: Literal["recall", "precision", "f1"] = "recall"
    stem: bool = True

    def __post_init__(self) -> None:
        if self.part not in Rouge._fields:
            raise InputError(f"Scorer option {self.name}:part must be recall, precision or f1, got {self.part!r}.")

    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        answers = [prompt.answer for prompt in targets]
        scores: FloatArray = getattr(self._rouge(answers, generations), self.part)
        return where_read(answers, scores)

    def _rouge(self, targets: Sequence[str], generations: Sequence[str]) -> Rouge:
        return rouge_l(targets, generations, stem=self.stem)


@SCORERS.register(
    "rouge-1",
    summary="(stemmed) words in common, over the length of the true answer",
    formula="words in common / words of the truth (recall)",
    paper="Lin 2004 (ROUGE), as the rouge-score package",
)
@dataclass(frozen=True)
class Rouge1(RougeL):
    """As rouge-l, for words in any order."""

    def _rouge(self, targets: Sequence[str], generations: Sequence[str]) -> Rouge:
        return rouge_1(targets, generations, stem=self.stem)
