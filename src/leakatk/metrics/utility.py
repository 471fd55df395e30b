"""Utility, what must not break: TOFU's model utility, further sets, and the formulas they are made of.

Sources: Maini et al., "TOFU: A Task of Fictitious Unlearning for LLMs", 2024 (probability, model utility); the
OpenUnlearning evaluation logs (the exact form of each, checked against them to 1e-9). Log-probabilities are natural; a
missing value is NaN and stays NaN. The formulas of forgetting keep their former names here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats as Floats
from leakatk.metrics.checks import mean, number_rows
from leakatk.metrics.checks import vector as vector
from leakatk.metrics.memorisation import exact_memorization as exact_memorization
from leakatk.metrics.memorisation import extraction_strength as extraction_strength
from leakatk.metrics.pieces import answer_stats, greedy_answers, wrong_stats
from leakatk.metrics.retrained import forget_quality as forget_quality
from leakatk.metrics.truth_ratio import GUARD as GUARD
from leakatk.metrics.truth_ratio import RatioConvention as RatioConvention
from leakatk.metrics.truth_ratio import all_wrong, summary, truth_ratios
from leakatk.metrics.truth_ratio import truth_on_forget as truth_on_forget
from leakatk.metrics.truth_ratio import truth_on_utility as truth_on_utility
from leakatk.metrics.truth_ratio import truth_ratio as truth_ratio
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

UTILITY_SETS = ("retain", "real_authors", "world_facts")
NINE = tuple(f"{split}_{kind}" for split in UTILITY_SETS for kind in ("prob", "rouge", "truth"))


def mean_logprob(steps: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) mean token log-probability of each answer, from its per-token values; NaN for an answer without tokens."""
    return np.array([mean(s) for s in steps])


def probability(mean_logprobs: npt.ArrayLike) -> Floats:
    """Length-normalised probability p(answer)^(1/tokens), from mean token log-probabilities of any shape."""
    return np.exp(np.asarray(mean_logprobs, dtype=np.float64))


def choice_probability(right: npt.ArrayLike, wrong: Sequence[npt.ArrayLike], *, guard: float = GUARD) -> Floats:
    """p(right) / (p(right) + sum p(wrong)) for each question: TOFU's probability on real authors and world facts.

    right: (m,) length-normalised probabilities; wrong: m rows of them, one for each wrong option.  guard: added to the sum
    (TOFU's own code adds nothing).
    """
    p = vector(right, "right")
    totals = p + np.array([np.sum(row) for row in number_rows(wrong, len(p), "wrong")]) + guard
    return np.asarray(p / totals, dtype=np.float64)


def model_utility(values: Mapping[str, float]) -> float:
    """Harmonic mean of TOFU's nine numbers (keys: `NINE`); 0 when one is 0, NaN when one is NaN.

    prob is `probability` on the retain set and `choice_probability` elsewhere; rouge is ROUGE-L recall of the greedy
    answer; truth is `truth_on_utility`.
    """
    missing = [name for name in NINE if name not in values]
    if missing:
        raise InputError(f"Model utility needs nine numbers; missing: {', '.join(missing)}.")
    nine = np.array([values[name] for name in NINE], dtype=np.float64)
    if np.isnan(nine).any():
        return float("nan")
    if (nine < 0).any():
        raise InputError(f"Model utility needs values that are not negative, got {nine.min():g}.")
    return 0.0 if (nine == 0).any() else float(len(nine) / np.sum(1 / nine))


def deviation_score(forget_rouge: float, retain_rouge: float) -> float:
    """100 * sqrt(ROUGE_forget^2 + (1 - ROUGE_retain)^2): 0 when all is forgotten and all is kept (PISTOL; as LUNAR uses it)."""
    for name, value in (("forget_rouge", forget_rouge), ("retain_rouge", retain_rouge)):
        if not (np.isnan(value) or 0 <= value <= 1):
            raise InputError(f"{name} must be between 0 and 1, got {value!r}.")
    return float(100 * np.hypot(forget_rouge, 1 - retain_rouge))


def rouge(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    """Mean ROUGE-L recall."""
    return float(np.mean(get_scorer("rouge-l").score(prompts, texts)))


def utility_sets(benchmark: Benchmark) -> dict[str, tuple[Prompt, ...]]:
    """The three sets of model utility (`UTILITY_SETS`). retain: TOFU's perturbed retain rows, else the held retain prompts."""
    return {
        "retain": benchmark.sets.get("retain") or benchmark.retain_held or benchmark.retain,
        "real_authors": benchmark.sets.get("real_authors", ()),
        "world_facts": benchmark.sets.get("world_facts", ()),
    }


@metric(
    "model_utility",
    summary="Probability, ROUGE and truth ratio on what is to be kept, and their harmonic mean.",
    paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
    formula="harmonic mean of nine: probability, ROUGE-L recall, mean of max(0, 1 - r) on three sets",
    source="OpenUnlearning's code",
    rows=("33",),
    values=(*NINE, "model_utility"),
)
def utility(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, prompts in utility_sets(benchmark).items():
        if not prompts:
            values |= {f"{name}_{kind}": math.nan for kind in ("prob", "rouge", "truth")}
            continue
        right = probability(mean_logprob([one.logprob for one in answer_stats(evidence, prompts)]))
        if name != "retain" and all_wrong(prompts):
            wrong = [mean_logprob([one.logprob for one in row]) for row in wrong_stats(evidence, prompts)]
            right = choice_probability(right, [np.exp(row) for row in wrong])
        values |= {
            f"{name}_prob": float(np.mean(right)),
            f"{name}_rouge": rouge(prompts, greedy_answers(evidence, prompts)),
            f"{name}_truth": summary(truth_on_utility, truth_ratios(evidence, prompts)),
        }
    values["model_utility"] = model_utility(values)
    return values


@metric(
    "sets",
    summary="ROUGE-L recall, and facts said, on the sets that are no part of model utility.",
    paper="ours",
    formula="mean ROUGE-L recall of greedy answers; share of answers with every fact",
    source="no parameters",
)
def further_sets(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    values = {}
    for name, prompts in benchmark.sets.items():
        if name in UTILITY_SETS or not prompts:
            continue
        texts = greedy_answers(evidence, prompts)
        values[f"set:{name} rouge"] = rouge(prompts, texts)
        if all(p.facts for p in prompts):
            values[f"set:{name} fact"] = float(np.mean(get_scorer("fact").score(prompts, texts)))
    return values
