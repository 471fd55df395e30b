"""Multiple choice (WMDP, MMLU) by log-probability: which option does the model find most likely?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, MetricSettings, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.pieces import Options
from leakatk.prompts import Prompt
from leakatk.scorers.options import read_options

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


def choice_probability(model: LoadedModel | Evidence, prompts: Sequence[Prompt]) -> tuple[Floats, Floats]:
    """(probability of the right option among the options, 1 where it is the most probable one else 0), each (m,).

    Letters for lettered prompts, whole option texts (summed log-probability) otherwise. NaN without known options.
    """
    evidence = model if isinstance(model, Evidence) else Evidence(model)
    probability, correct = np.full(len(prompts), np.nan), np.full(len(prompts), np.nan)
    asked: dict[int, tuple[Options, int]] = {}
    for i, prompt in enumerate(prompts):
        options, right, lettered = read_options(prompt)
        if right is not None:
            said = ascii_uppercase[: len(options)] if lettered else options
            asked[i] = Options(prompt.question, tuple(said)), right
    found = evidence.get(one for one, _ in asked.values())
    for (i, (_, right)), mine in zip(asked.items(), found, strict=True):
        weights = np.exp(mine - mine.max())
        probability[i] = weights[right] / weights.sum()
        correct[i] = mine[right] > np.delete(mine, right).max()
    return probability, correct


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


def evaluate_choices(model: LoadedModel | Evidence, benchmark: Benchmark, *, level: float = 0.95) -> ChoiceResult:
    """Accuracy on a benchmark of lettered questions, asked in the model's template (`bench.asked_as` gives it the harness's).

    level: of the interval; that of the evidence's settings where evidence is given.
    """
    evidence = model if isinstance(model, Evidence) else Evidence(model, settings=MetricSettings(level=level))
    level = evidence.settings.level
    probability, correct = choice_probability(evidence, benchmark.forget)
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


@metric(
    "choices",
    summary="Accuracy on multiple choice, with what blind guessing gives.",
    paper="Li et al. 2024 (WMDP), arXiv 2403.03218",
    formula="share of questions whose right option is the most probable one; interval: Clopper-Pearson",
    source="letters of lettered questions, summed log-probabilities of whole options otherwise",
    values=("accuracy", "accuracy low", "accuracy high", "probability", "chance"),
    needs=("forget",),
    example="leakatk bench wmdp/bio --model MODEL --metric choices --out results",
)
def choices(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    found = evaluate_choices(evidence, benchmark)
    return {
        "accuracy": found.accuracy,
        "accuracy low": found.low,
        "accuracy high": found.high,
        "probability": found.probability,
        "chance": found.chance,
    }
