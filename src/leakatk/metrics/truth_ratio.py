"""Truth ratio: is the right answer likelier than wrong ones? (Maini et al., "TOFU", 2024.)

The exact form of each convention is checked against OpenUnlearning's logs and TOFU's own, to 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, mean, number_rows, vector
from leakatk.metrics.pieces import right_stats, wrong_stats
from leakatk.prompts import Prompt

RatioConvention = Literal["open-unlearning", "tofu", "paper"]

GUARD = 1e-10  # added to denominators by the OpenUnlearning code; needed to reproduce its logs


def truth_ratio(
    right: npt.ArrayLike, wrong: Sequence[npt.ArrayLike], convention: RatioConvention = "open-unlearning"
) -> Floats:
    """(m,) truth ratio: mean probability of the wrong answers over the probability of the right (paraphrased) one.

    right: (m,) mean token log-probabilities; wrong: m rows of them. A model that knows the fact is near 0, one that
    does not is near 1. "open-unlearning", as the published code: geometric mean of the wrong ones, and 1e-10 added to the
    denominator. "tofu", as TOFU's forget quality: the same without that. "paper", as the formula printed in TOFU and the
    aggregates of its utils.py: arithmetic mean.
    """
    r = vector(right, "right")
    rows = number_rows(wrong, len(r), "wrong")
    if convention == "open-unlearning":
        above = np.exp([np.mean(row) for row in rows])
        return np.asarray(above / (np.exp(r) + GUARD), dtype=np.float64)
    if convention == "tofu":
        return np.exp(np.array([np.mean(row) for row in rows]) - r)
    if convention == "paper":
        return np.asarray(np.array([np.mean(np.exp(row)) for row in rows]) / np.exp(r), dtype=np.float64)
    raise InputError(f"Unknown truth ratio convention {convention!r}; use open-unlearning, tofu or paper.")


def truth_on_forget(ratios: npt.ArrayLike) -> float:
    """Mean of min(r, 1/r): 1 when right and wrong answers are equally likely, near 0 when they are told apart.

    As stored in OpenUnlearning's logs. TOFU's own tables print 1 minus this value.
    """
    r = vector(ratios, "ratios")
    return float(np.mean(np.minimum(r, 1 / (r + GUARD))))


def truth_on_utility(ratios: npt.ArrayLike) -> float:
    """Mean of max(0, 1 - r): 1 when the right answer is far likelier than the wrong ones."""
    return float(np.mean(np.maximum(0, 1 - vector(ratios, "ratios"))))


def all_wrong(prompts: Sequence[Prompt]) -> bool:
    """Every prompt has wrong answers: truth ratios are defined."""
    return all(p.perturbed_answers for p in prompts)


def truth_ratios(
    evidence: Evidence, prompts: Sequence[Prompt], convention: RatioConvention = "open-unlearning"
) -> Floats:
    """(m,) truth ratios of the prompts; empty without wrong answers."""
    if not all_wrong(prompts):
        return np.zeros(0)
    right = np.array([mean(stats.logprob) for stats in right_stats(evidence, prompts)])
    wrong = [np.array([mean(stats.logprob) for stats in row]) for row in wrong_stats(evidence, prompts)]
    return truth_ratio(right, wrong, convention)


def summary(summarise: Callable[[Floats], float], ratios: Floats) -> float:
    """NaN where there are no ratios."""
    return summarise(ratios) if ratios.size else float("nan")


@metric(
    "truth_ratio",
    summary="Are right and wrong answers to the forget questions told apart?",
    paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
    formula="mean of min(r, 1/r), r = mean p(wrong) / p(right), p = probability^(1/tokens)",
    source="OpenUnlearning's code (geometric mean of the wrong ones); forget_truth_paper: TOFU's formula (arithmetic mean)",
    rows=("33",),
    values=("forget_truth", "forget_truth_paper"),
    needs=("perturbed_answers",),
)
def forget_truth(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    return {
        "forget_truth": truth_on_forget(truth_ratios(evidence, benchmark.forget)),
        "forget_truth_paper": truth_on_forget(truth_ratios(evidence, benchmark.forget, "paper")),
    }
