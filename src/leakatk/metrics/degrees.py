"""Degrees of forgetting: how near a model is to the retrained one on both sides (F.D. and R.U. of FIT)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.accuracy import likeliest
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.pieces import answer_stats, greedy_answers
from leakatk.metrics.utility import mean_logprob, probability, rouge
from leakatk.prompts import Prompt


def degree(level: float, retrained: float) -> float:
    """max(0, 1 - |level / retrained - 1|): 1 at the retrained model's level. NaN where that level is 0."""
    return max(0.0, 1 - abs(level / retrained - 1)) if retrained else float("nan")


def level(evidence: Evidence, prompts: Sequence[Prompt]) -> float:
    """Geometric mean of probability, ROUGE-L recall and accuracy. NaN where a prompt has no wrong answers."""
    parts = (
        float(np.mean(probability(mean_logprob([one.logprob for one in answer_stats(evidence, prompts)])))),
        rouge(prompts, greedy_answers(evidence, prompts)),
        float(np.mean(likeliest(evidence, prompts))),
    )
    return float(np.prod(parts) ** (1 / 3))


@metric(
    "forgetting_degree",
    summary="How near the model is to the retrained one on what is to be forgotten (F.D.) and to be kept (R.U.).",
    paper="FIT",
    formula="F = (probability x ROUGE-L x accuracy)^(1/3) on the forget set; F.D. = max(0, 1 - |F / F_retrained - 1|); R.U.: the same on the retain set",
    source="a digest of the paper; probability is p^(1/tokens), ROUGE-L the recall of greedy answers",
    reading="Accuracy: the share of prompts whose right answer is likelier, per token, than every wrong one. Undefined (NaN) where the "
    "retrained model's level is 0, as where it never prefers a right answer",
    rows=("13",),
    values=("forgetting_degree", "retained_utility", "forgetting_level", "retained_level"),
    needs=("perturbed_answers", "retain", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric forgetting_degree --out results",
)
def degrees(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    assert evidence.retrained is not None  # what `needs` is for
    found: dict[str, float] = {}
    for name, part, prompts in (
        ("forgetting_degree", "forgetting_level", benchmark.forget),
        ("retained_utility", "retained_level", benchmark.retain),
    ):
        mine, theirs = (level(one, prompts) for one in (evidence, evidence.retrained))
        found |= {name: degree(mine, theirs), part: mine}
    return {
        name: found[name] for name in ("forgetting_degree", "retained_utility", "forgetting_level", "retained_level")
    }
