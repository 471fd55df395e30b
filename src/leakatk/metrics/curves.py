"""Curves over several models: forgetting against keeping (Norm-AUC), and how steady a model stays over requests (DDS, DUS)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import known
from leakatk.metrics.pieces import answer_stats, greedy_answers
from leakatk.metrics.ranks import rouge_1
from leakatk.metrics.utility import deviation_score, mean_logprob, probability, rouge, utility_sets
from leakatk.prompts import Prompt

RISE = 0.5  # DRAGON's weight of what deviation rises by


def norm_auc(forget: npt.ArrayLike, retain: npt.ArrayLike) -> float:
    """Area under what is kept, over what is left of the forget set: 1 is ideal, .5 loses both alike.

    forget, retain: scores of the models, the one before unlearning first. Each is divided by the first and held to [0, 1]; NaN
    where that is 0. The curve goes from the first model to (0, 0), where everything is lost; of models with equally much left
    the one that keeps most counts.
    """
    x, y = known(forget, "forget scores"), known(retain, "retain scores")
    if x.size != y.size:
        raise InputError(f"{x.size} forget scores but {y.size} retain scores; give one of each a model.")
    if not (x[0] > 0 and y[0] > 0):
        return float("nan")
    best: dict[float, float] = {}
    for left, kept in zip(np.clip(x / x[0], 0, 1), np.clip(y / y[0], 0, 1), strict=True):
        best[float(left)] = max(float(kept), best.get(float(left), 0.0))
    best.setdefault(0.0, 0.0)
    return float(sum((b - a) * (low + high) / 2 for (a, low), (b, high) in pairwise(sorted(best.items()))))


def dynamic_deviation(deviations: npt.ArrayLike, rise: float = RISE) -> float:
    """DDS: mean of the deviations after each request, plus `rise` times the mean of what they rise by. NaN for one request."""
    found = known(deviations, "deviations")
    return float(found.mean() + rise * np.mean(np.maximum(0, np.diff(found)))) if found.size > 1 else float("nan")


def dynamic_utility(utilities: npt.ArrayLike) -> float:
    """DUS: 1 minus the mean absolute change of utility from request to request. NaN for one request."""
    found = known(utilities, "utilities")
    return float(1 - np.mean(np.abs(np.diff(found)))) if found.size > 1 else float("nan")


@metric(
    "norm_auc",
    summary="Area under the curve of keeping over forgetting, through the models on the way: 1 is ideal, .5 loses both alike.",
    paper="learning-time encoding (Eval-DU+, TOFU+)",
    formula="trapezoids of retain / retain_0 over forget / forget_0, by probability and by ROUGE-L recall",
    source="axes divided by the scores before unlearning, as published",
    reading="From the last model the curve goes straight to where everything is lost. A retrained model has some forget score left, so that 1 "
    "is out of reach",
    rows=("36",),
    values=("norm_auc_prob", "norm_auc_rouge", "norm_auc_models"),
    needs=("retain", "auxiliary original", "auxiliary earlier"),
    example="leakatk bench world --model MODEL --auxiliary original=FULL --auxiliary earlier=MODEL-1 --metric norm_auc --out results",
)
def area(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    models = (evidence.beside["original"][0], *evidence.beside["earlier"], evidence)
    parts = benchmark.forget, utility_sets(benchmark)["retain"]
    prob = [[_probability(one, prompts) for one in models] for prompts in parts]
    recall = [[rouge(prompts, greedy_answers(one, prompts)) for one in models] for prompts in parts]
    return {
        "norm_auc_prob": norm_auc(*prob),
        "norm_auc_rouge": norm_auc(*recall),
        "norm_auc_models": float(len(models)),
    }


@metric(
    "dynamic",
    summary="How steady forgetting (DDS, low is good) and usefulness (DUS, high is good) stay over requests in a row.",
    paper="DRAGON, arXiv 2511.05784",
    formula="DDS = mean s_i + b / (T - 1) sum max(0, s_{i+1} - s_i); DUS = 1 - mean |u_{i+1} - u_i|",
    source="b = .5 as published",
    reading="s: the deviation score over 100, so that it lies between 0 and 1.42. u: ROUGE-L recall of the retain set",
    rows=("89",),
    values=("dynamic_deviation", "dynamic_utility", "dynamic_requests"),
    needs=("retain", "auxiliary earlier"),
    example="leakatk bench world --model MODEL --auxiliary earlier=MODEL-1 --metric dynamic --out results",
)
def dynamic(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    models = (*evidence.beside["earlier"], evidence)
    kept = utility_sets(benchmark)["retain"]
    said = [[greedy_answers(one, prompts) for prompts in (benchmark.forget, kept)] for one in models]
    deviations = [deviation_score(rouge_1(benchmark.forget, f), rouge_1(kept, r)) / 100 for f, r in said]
    return {
        "dynamic_deviation": dynamic_deviation(deviations),
        "dynamic_utility": dynamic_utility([rouge(kept, texts) for _, texts in said]),
        "dynamic_requests": float(len(models)),
    }


def _probability(evidence: Evidence, prompts: Sequence[Prompt]) -> float:
    return float(np.mean(probability(mean_logprob([one.logprob for one in answer_stats(evidence, prompts)]))))
