"""Restoration: are right facts answered again once the wrong ones over them are unlearned (RESTOR)?"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.pieces import Answer, Greedy
from leakatk.prompts import Prompt, Query
from leakatk.scorers.base import get_scorer

SHOTS = 5


def relation(prompt: Prompt) -> str:
    """What is asked of whom, without whom: the question with its subject (`source`) left blank."""
    return prompt.question.replace(prompt.source, "") if prompt.source else prompt.question


def shots(prompt: Prompt, pool: Sequence[Prompt], count: int = SHOTS, seed: int = 0) -> tuple[tuple[str, str], ...]:
    """Up to `count` answered questions of the same relation about others, drawn for each prompt by `seed`."""
    others = [other for other in pool if relation(other) == relation(prompt) and other.source != prompt.source]
    drawn = Random(f"{seed}/{prompt.id}/shots").sample(others, min(count, len(others)))
    return tuple((other.question, other.answer) for other in drawn)


def option_shares(logprobs: npt.ArrayLike) -> Floats:
    """Probabilities of a few answers, divided by their sum, from their log-probabilities a token."""
    values = np.asarray(logprobs, dtype=np.float64)
    weights = np.exp(values - values.max())
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def recovered(now: float, corrupted: float, clean: float) -> float:
    """(now - corrupted) / (clean - corrupted): 0 as before unlearning, 1 as before the corruption. NaN where these are equal."""
    return (now - corrupted) / (clean - corrupted) if clean != corrupted else float("nan")


@metric(
    "restoration",
    summary="Are the right facts answered again once the wrong ones over them are unlearned?",
    paper="RESTOR, arXiv 2411.00204",
    formula="share of greedy answers with every right fact after five examples of the same relation, and without; shares of p^(1/tokens) "
    "among the right, the trained wrong and a random answer",
    source="five examples, as published; they are earlier turns, drawn from the retain set",
    reading="Of the same relation are questions that differ in their subject alone. The random answer is the last wrong one of the prompt",
    rows=("110",),
    values=("restored", "restored_plain", "share_right", "share_wrong", "share_random", "restoration_examples"),
    needs=("sets.original", "retain"),
    example="leakatk bench corruption --model MODEL --metric restoration --out results",
)
def restoration(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    prompts = benchmark.sets["original"]
    queries = _queries(benchmark)
    scorer = get_scorer("fact")
    found = [scorer.score(prompts, texts) for texts in (_said(evidence, queries), _said(evidence, _plain(prompts)))]
    answers = [(p.answer, p.perturbed_answers[0], p.perturbed_answers[-1]) for p in prompts if p.perturbed_answers]
    asked = [query for query, p in zip(queries, prompts, strict=True) if p.perturbed_answers]
    stats = iter(evidence.get(Answer(q, text) for q, texts in zip(asked, answers, strict=True) for text in texts))
    shares = [option_shares([next(stats).logprob.mean() for _ in texts]) for texts in answers]
    right, wrong, other = np.mean(shares, axis=0) if shares else (np.nan,) * 3
    return {
        "restored": float(np.nanmean(found[0])),
        "restored_plain": float(np.nanmean(found[1])),
        "share_right": float(right),
        "share_wrong": float(wrong),
        "share_random": float(other),
        "restoration_examples": float(np.mean([len(query.turns) for query in queries])),
    }


@metric(
    "restored_share",
    summary="Which part of what the corruption took is answered again: 0 as corrupted, 1 as the clean model.",
    paper="RESTOR, arXiv 2411.00204",
    formula="(A - A_corrupted) / (A_clean - A_corrupted), A as in `restoration`",
    source="--retrained is the clean model, the auxiliary original the corrupted one from which unlearning began",
    rows=("110",),
    values=("restored_share", "restored_share_plain", "restored_clean", "restored_corrupted"),
    needs=("sets.original", "retain", "retrained", "auxiliary original"),
    example="leakatk bench corruption --model MODEL --retrained CLEAN --auxiliary original=CORRUPTED --metric restored_share --out results",
)
def restored_share(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    assert evidence.retrained is not None  # what `needs` is for
    prompts = benchmark.sets["original"]
    scorer = get_scorer("fact")
    models = evidence, evidence.beside["original"][0], evidence.retrained
    shot, plain = (
        [float(np.nanmean(scorer.score(prompts, _said(one, queries)))) for one in models]
        for queries in (_queries(benchmark), _plain(prompts))
    )
    return {
        "restored_share": recovered(*shot),
        "restored_share_plain": recovered(*plain),
        "restored_clean": shot[2],
        "restored_corrupted": shot[1],
    }


def _queries(benchmark: Benchmark) -> list[Query]:
    pool = (*benchmark.retain, *benchmark.retain_held)
    return [Query(prompt.question, shots(prompt, pool)) for prompt in benchmark.sets["original"]]


def _plain(prompts: Sequence[Prompt]) -> list[Query]:
    return [Query(prompt.question) for prompt in prompts]


def _said(evidence: Evidence, queries: Sequence[Query]) -> list[str]:
    return evidence.get(Greedy(query) for query in queries)
