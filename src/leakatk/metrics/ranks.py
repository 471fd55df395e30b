"""Ranks of true tokens: mean reciprocal rank, top hit ratio, and PISTOL's deviation score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, mean
from leakatk.metrics.evidence import Passes, Piece
from leakatk.metrics.pieces import Answer, greedy_answers
from leakatk.metrics.utility import deviation_score, utility_sets
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

TOP = 100  # ranks that count as a hit, as in PISTOL


@dataclass(frozen=True)
class Ranks(Piece):
    """Rank of each token of an answer, 1 for the most likely; without its end token: an array."""

    of: Answer

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[Floats]:
        from leakatk.models.token_stats import token_ranks

        found = token_ranks(loaded, Answer.pairs(loaded, [piece.of for piece in pieces]))
        ends = loaded.template.end_id(loaded.tokenizer) is not None
        return [ranks[: max(1, ranks.size - 1)] if ends else ranks for ranks in found]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(Answer.pairs(loaded, [piece.of for piece in pieces]))

    def stand_in(self) -> Floats:
        return np.array([1.0, 2.0])

    @staticmethod
    def row(value: Floats) -> Mapping[str, Any]:
        return {"value": value.tolist()}

    @staticmethod
    def read(row: Mapping[str, Any]) -> Floats:
        return np.array(row["value"], dtype=np.float64)


def mean_reciprocal_rank(ranks: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) mean of 1 / rank over the tokens of each answer; NaN for one without tokens."""
    return np.array([mean(1 / np.asarray(one, dtype=np.float64)) for one in ranks])


def top_hit_ratio(ranks: Sequence[npt.ArrayLike], top: int = TOP) -> Floats:
    """(m,) share of the tokens of each answer among the `top` most likely ones; NaN for one without tokens."""
    if top < 1:
        raise InputError(f"top must be at least 1, got {top}.")
    return np.array([mean(np.asarray(one) <= top) for one in ranks])


@metric(
    "ranks",
    summary="How high the true tokens stand: mean reciprocal rank and top hit ratio, to forget and to keep.",
    paper="Qiu et al. 2024 (PISTOL), arXiv 2406.16810",
    formula="mean over answers of the mean of 1 / rank_t; and of the share of tokens with rank_t <= 100",
    source="100 as published; teacher forcing, the end token left out; among equal tokens the mean of their ranks",
    reading="Ranks are those of the true token after the true beginning. 100 is much of the vocabulary of a small model",
    rows=("58",),
    values=("forget_mrr", "forget_thr", "retain_mrr", "retain_thr"),
    needs=("forget", "retain"),
)
def ranks(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    values: dict[str, float] = {}
    for part, prompts in (("forget", benchmark.forget), ("retain", utility_sets(benchmark)["retain"])):
        found = evidence.get(Ranks(Answer(p.question, p.answer)) for p in prompts)
        values |= {
            f"{part}_mrr": float(np.nanmean(mean_reciprocal_rank(found))),
            f"{part}_thr": float(np.nanmean(top_hit_ratio(found))),
        }
    return values


def rouge_1(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    """Mean ROUGE-1 recall."""
    return float(np.mean(get_scorer("rouge-1").score(prompts, texts)))


@metric(
    "deviation",
    summary="One number of forgetting and keeping: 0 where all is forgotten and all is kept.",
    paper="Qiu et al. 2024 (PISTOL), arXiv 2406.16810; as LUNAR uses it",
    formula="100 sqrt(ROUGE-1_forget^2 + (1 - ROUGE-1_retain)^2), of greedy answers",
    source="no parameters; recall",
    rows=("58",),
    values=("deviation", "forget_rouge1", "retain_rouge1"),
    needs=("forget", "retain"),
)
def deviation(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    kept = utility_sets(benchmark)["retain"]
    forget = rouge_1(benchmark.forget, greedy_answers(evidence, benchmark.forget))
    retain = rouge_1(kept, greedy_answers(evidence, kept))
    return {"deviation": deviation_score(forget, retain), "forget_rouge1": forget, "retain_rouge1": retain}
