"""Fluency: is it text at all? No model is needed here."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.pieces import greedy_answers

_WORD = re.compile(r"[^\W_]+")


def is_broken(text: str) -> bool:
    """True for text no reader would take for an answer: no word at all, or going round in circles (our reading).

    In circles: the same word three times running, or at least eight words of which under half of the three-word
    sequences are new. A short refusal or a wrong answer is not broken.
    """
    words = _WORD.findall(text.lower())
    if not words:
        return True
    if any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False)):
        return True
    threes = list(zip(words, words[1:], words[2:], strict=False))
    return len(words) >= 8 and len(set(threes)) < 0.5 * len(threes)


def broken_share(texts: Sequence[str]) -> float:
    """Share of broken texts (`is_broken`); NaN without texts."""
    return float(np.mean([is_broken(text) for text in texts])) if texts else float("nan")


@metric(
    "fluency",
    summary="Share of greedy answers to the forget questions that are no text.",
    paper="ours",
    formula="no word, or the same in circles: a word three times running, or under half of the three-word sequences new",
    source="circles are looked for from eight words on",
    reading="What a reader would not take for an answer.",
    values=("forget_broken",),
    needs=("forget",),
)
def fluency(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    return {"forget_broken": broken_share(greedy_answers(evidence, benchmark.forget))}
