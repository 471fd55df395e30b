"""Gibberish: how likely is a text to be one, by a small classifier that learns from the benchmark's own answers."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

import numpy as np
from scipy import stats
from scipy.special import expit

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.pieces import greedy_answers

LEAST = 8  # texts to learn from: half for the letters, half for the boundary
RIDGE = 1e-3
ORDER = 5  # characters of the longest string that is counted


@dataclass(frozen=True)
class Letters:
    """How letters follow one another: p(c | up to four before), each order smoothed by the one below (Witten-Bell).

    counts: of strings of 1 to 5 characters, by length; a text begins with marks.  after: beginning -> (how often it occurs, how
    many different characters follow it).
    """

    counts: tuple[Counter[str], ...]
    after: dict[str, tuple[int, int]]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Letters:
        counts: tuple[Counter[str], ...] = tuple(Counter() for _ in range(ORDER))
        for text in texts:
            for whole, i in _places(text):
                for size, mine in enumerate(counts):
                    mine[whole[i - size : i + 1]] += 1
        after: dict[str, tuple[int, int]] = {}
        for mine in counts[1:]:
            for string, count in mine.items():
                total, kinds = after.get(string[:-1], (0, 0))
                after[string[:-1]] = total + count, kinds + 1
        return cls(counts, after)

    def probability(self, string: str) -> float:
        """p(last character | those before); a single one has its own share, with one more for every kind and for those never seen."""
        mine = self.counts[len(string) - 1]
        if len(string) == 1:
            return (mine[string] + 1) / (mine.total() + len(mine) + 1)
        lower = self.probability(string[1:])
        total, kinds = self.after.get(string[:-1], (0, 0))
        return (mine[string] + kinds * lower) / (total + kinds) if total else lower

    def order(self, text: str) -> float:
        """Mean over characters of log p(c | four before) - log p(c): above 0 where letters stand as they do in words."""
        found = [
            math.log(self.probability(whole[i - ORDER + 1 : i + 1])) - math.log(self.probability(whole[i]))
            for whole, i in _places(text)
        ]
        return float(np.mean(found)) if found else 0.0


def _places(text: str) -> Iterator[tuple[str, int]]:
    whole = "\x02" * (ORDER - 1) + text.lower()
    return ((whole, i) for i in range(ORDER - 1, len(whole)))


@dataclass(frozen=True)
class Cleanness:
    """P(clean) = logistic(w . features) of a text; 0 for a blank one. `features` are its features."""

    letters: Letters
    weights: tuple[float, ...]

    @classmethod
    def learned(cls, texts: Sequence[str]) -> Cleanness:
        """From clean texts, and gibberish made of them: see `noises`.

        Half of the texts teach how letters follow one another, the others where the boundary is.  InputError below 8 texts.
        """
        texts = [text for text in dict.fromkeys(texts) if text.strip()]
        if len(texts) < LEAST:
            raise InputError(
                f"A classifier of gibberish needs {LEAST} different answers to learn from, got {len(texts)}."
            )
        letters = Letters.of(texts[::2])
        made = [(text, 1.0) for text in texts[1::2]]
        for number, text in enumerate(texts[1::2]):
            made += [(noise, 0.0) for noise in noises(text, Random(f"leakatk gibberish {number}"))]
        rows = np.array([features(letters, text) for text, _ in made])
        return cls(letters, tuple(logistic(rows, np.array([label for _, label in made])).tolist()))

    def score(self, texts: Sequence[str]) -> Floats:
        """(m,) probability that each is clean."""
        rows = np.array([features(self.letters, text) for text in texts]).reshape(-1, len(self.weights))
        blank = np.array([not text.strip() for text in texts], dtype=bool)
        return np.asarray(np.where(blank, 0.0, expit(rows @ np.array(self.weights))), dtype=np.float64)


def noises(text: str, rng: Random) -> tuple[str, str, str, str]:
    """Four forms of gibberish: the letters in another order, two words in a circle, every word twice, letters drawn at random."""
    shuffled = list(text)
    rng.shuffle(shuffled)
    words = text.split()
    circle = [words[i % min(2, len(words))] for i in range(max(8, len(words)))]
    drawn = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz   ") for _ in text)
    return "".join(shuffled), " ".join(circle), " ".join(word for word in words for _ in range(2)), drawn


def features(letters: Letters, text: str) -> tuple[float, float, float, float]:
    """(1, `Letters.order`, share of different words, share of words that do not repeat the one before)."""
    words = text.lower().split()
    fresh = [a != b for a, b in pairwise(words)]
    return (
        1.0,
        letters.order(text),
        len(set(words)) / len(words) if words else 1.0,
        sum(fresh) / len(fresh) if fresh else 1.0,
    )


def logistic(rows: Floats, labels: Floats, ridge: float = RIDGE) -> Floats:
    """(d,) weights that minimise the mean of both classes' mean log losses plus ridge / 2 times their square, by Newton steps."""
    share = np.where(labels == 1, 0.5 / np.sum(labels == 1), 0.5 / np.sum(labels == 0))
    weights = np.zeros(rows.shape[1])
    for _ in range(100):
        p = expit(rows @ weights)
        gradient = rows.T @ (share * (p - labels)) + ridge * weights
        curvature = (rows * (share * p * (1 - p))[:, None]).T @ rows + ridge * np.eye(rows.shape[1])
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step
        if np.abs(step).max() < 1e-12:
            break
    return weights


def taught(benchmark: Benchmark) -> Cleanness:
    """The classifier of a benchmark: from all true answers, and its refusals."""
    prompts = (*benchmark.forget, *benchmark.retain, *benchmark.retain_held, *benchmark.holdout)
    return Cleanness.learned([*(prompt.answer for prompt in prompts), *benchmark.refusals])


@metric(
    "cleanness",
    summary="How likely the greedy forget answers are text and not gibberish.",
    paper="Mekala et al. 2024 (AltPO), arXiv 2409.13474",
    formula="TC = mean over answers of P(clean) by a classifier of gibberish",
    source="a logistic regression with a ridge of .001, both classes of equal weight",
    reading="The paper takes a published classifier. Ours learns from the benchmark's true answers and refusals, and from gibberish made of them: "
    "letters in another order, words in a circle or twice, random letters",
    rows=("104",),
    values=("cleanness", "cleanness_below_half"),
    needs=("forget",),
)
def cleanness(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    scores = taught(benchmark).score(greedy_answers(evidence, benchmark.forget))
    return {"cleanness": float(scores.mean()), "cleanness_below_half": float(np.mean(scores < 0.5))}


@metric(
    "cleanness_retrained",
    summary="Can the scores of gibberish be told from the retrained model's?",
    paper="Mekala et al. 2024 (AltPO), arXiv 2409.13474",
    formula="CI = p-value of the two-sample Kolmogorov-Smirnov test between P(clean) of both models' greedy forget answers",
    source="as published, with the classifier of `cleanness`",
    rows=("104",),
    values=("cleanness_ks", "cleanness_of_retrained"),
    needs=("forget", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric cleanness_retrained --out results",
)
def cleanness_retrained(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    assert evidence.retrained is not None  # what `needs` is for
    judge = taught(benchmark)
    mine, theirs = (judge.score(greedy_answers(one, benchmark.forget)) for one in (evidence, evidence.retrained))
    return {
        "cleanness_ks": float(stats.ks_2samp(mine, theirs).pvalue),
        "cleanness_of_retrained": float(theirs.mean()),
    }
