"""Multiple choice (WMDP, MMLU) by log-probability, with its interval and what chance would give."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Passes
from leakatk.metrics.choice_probability import choice_probability, option_pairs
from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True, slots=True)
class ChoiceResult:
    """accuracy with its Clopper-Pearson interval (low, high) at `level`; probability: mean probability of the right option.

    chance: accuracy of blind guessing.  questions: how many were scored.
    """

    accuracy: float
    low: float
    high: float
    probability: float
    chance: float
    questions: int
    level: float


def evaluate_choices(loaded: LoadedModel, benchmark: Benchmark, *, level: float = 0.95) -> ChoiceResult:
    """Accuracy on a benchmark of lettered questions, asked in the model's template (`bench.asked_as` gives it the harness's)."""
    if not 0 < level < 1:
        raise InputError(f"The level must be between 0 and 1, got {level!r}.")
    probability, correct = choice_probability(loaded, benchmark.forget)
    known = ~np.isnan(correct)
    if not known.any():
        raise InputError(
            f"Benchmark {benchmark.name} has no multiple-choice questions; use wmdp/bio, wmdp/cyber or wmdp/chem."
        )
    count, hits = int(known.sum()), int(correct[known].sum())
    interval = stats.binomtest(hits, count).proportion_ci(level, method="exact")
    options = [1 + len(p.perturbed_answers) for p, k in zip(benchmark.forget, known, strict=True) if k]
    return ChoiceResult(
        accuracy=hits / count,
        low=float(interval.low),
        high=float(interval.high),
        probability=float(probability[known].mean()),
        chance=float(np.mean([1 / o for o in options])),
        questions=count,
        level=level,
    )


def choice_passes(loaded: LoadedModel, benchmark: Benchmark) -> Passes:
    """What `evaluate_choices` computes."""
    return Passes(option_pairs(loaded, benchmark.forget)[0])
