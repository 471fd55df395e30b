"""Superficial unlearning: forgotten as asked, and yet said another way, or at the cost of what only shares the answer (FaithUn)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.pieces import Greedy, greedy_answers
from leakatk.prompts import Prompt, Query
from leakatk.scorers.base import get_scorer

HOPS, SAME = "multi_hop", "same_answer"


def linked(prompt: Prompt, others: Sequence[Prompt]) -> list[int]:
    """Places of the questions that are answered by the same facts, asked of somebody else."""
    return [
        i for i, other in enumerate(others) if prompt.facts and other.facts == prompt.facts and other.id != prompt.id
    ]


def failing(gone: Floats, failed: Sequence[Sequence[bool]]) -> Floats:
    """(m,) 1 where a forgotten fact fails one of its tests, 0 where it passes all; NaN where it is not forgotten, or has no test."""
    return np.array([float(any(tests)) if away and tests else np.nan for away, tests in zip(gone, failed, strict=True)])


@metric(
    "superficial",
    summary="Of what is forgotten as asked: what is said in other words or through another fact, or took others with the same answer along?",
    paper="FaithUn, 2025",
    formula="superficial = share of { forgotten as asked } with a wording or a question through it that says the fact, or a lost question that shares "
    "its answer",
    source="the three tests and that one failure is enough: the paper. Greedy answers and the fact scorer: ours",
    reading="A question belongs to a fact when both have the same answer. Sets multi_hop and same_answer are those of the benchmarks of these names; "
    "what a benchmark lacks is not tested",
    rows=("52",),
    values=("forgotten", "superficial", "said_in_wordings", "said_through_hops", "lost_same_answers"),
    needs=("forget",),
)
def superficial(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    prompts, scorer = benchmark.forget, get_scorer("fact")

    def says(asked: Sequence[Prompt], texts: Sequence[str]) -> list[bool]:
        return [bool(score >= 1) for score in scorer.score(asked, texts)] if asked else []

    gone = np.array([not said for said in says(prompts, greedy_answers(evidence, prompts))])
    worded = [(prompt, way) for prompt in prompts for way in prompt.paraphrases]
    heard = iter(says([p for p, _ in worded], evidence.get(Greedy(Query(way)) for _, way in worded)))
    tests = {"said_in_wordings": [[next(heard) for _ in prompt.paraphrases] for prompt in prompts]}
    for name, key, bad in (("said_through_hops", HOPS, True), ("lost_same_answers", SAME, False)):
        others = benchmark.sets.get(key, ())
        said = says(others, greedy_answers(evidence, others)) if others else []
        tests[name] = [[said[i] == bad for i in linked(prompt, others)] for prompt in prompts]
    every = [[one for kind in tests.values() for one in kind[i]] for i in range(len(prompts))]
    parts = {name: _share(failing(gone, found)) for name, found in tests.items()}
    return {"forgotten": float(gone.mean()), "superficial": _share(failing(gone, every)), **parts}


def _share(values: Floats) -> float:
    """Mean of those that are defined; NaN where none is."""
    return float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")
