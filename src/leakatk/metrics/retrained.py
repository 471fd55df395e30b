"""Comparisons with the retrained model: forget quality, PrivLeak, over-unlearning, the reference attack.

Sources: Maini et al. (TOFU) 2024, forget quality; Shi et al. (MUSE) 2024, PrivLeak; Carlini et al. 2021, the reference
attack. Over-unlearning is our reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import known, vector
from leakatk.metrics.membership import attack_scores, auc, tpr_at_fpr
from leakatk.metrics.truth_ratio import truth_ratios

LeakConvention = Literal["muse", "membership"]

_GUARD = 1e-10  # in PrivLeak's denominator, as in the OpenUnlearning code


def forget_quality(ratios: npt.ArrayLike, retrained_ratios: npt.ArrayLike) -> float:
    """p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios of a model and of the retrained one.

    High: the two cannot be told apart by this statistic. Low: the model still knows, or knows suspiciously little.
    """
    return float(stats.ks_2samp(vector(ratios, "ratios"), vector(retrained_ratios, "retrained_ratios")).pvalue)


def privleak(attack_auc: float, retrained_auc: float = 0.5, convention: LeakConvention = "muse") -> float:
    """PrivLeak in percent: how far the attack's AUC is from that on the retrained model; 0 is ideal.

    "muse", as its tables and OpenUnlearning: computed on 1 - AUC, so a model that still remembers is negative (-100 at
    most) and an over-unlearned one positive. "membership": on the AUC itself, so a model that still remembers is
    positive. Without a retrained model .5 is assumed.
    """
    for name, value in (("attack_auc", attack_auc), ("retrained_auc", retrained_auc)):
        if not (np.isnan(value) or 0 <= value <= 1):
            raise InputError(f"{name} must be between 0 and 1, got {value!r}.")
    if convention not in ("muse", "membership"):
        raise InputError(f"Unknown PrivLeak convention {convention!r}; use muse or membership.")
    value, base = attack_auc, retrained_auc
    if convention == "muse":
        value, base = 1 - value, 1 - base
    return 100 * (value - base) / (base + _GUARD)


@dataclass(frozen=True, slots=True)
class OverUnlearning:
    """share: of forget texts that score beyond nearly all of the retrained model's. flagged: the share is above half.

    Such a model does not resemble one that never saw the data: the gap itself tells what was removed.
    """

    share: float
    median: float
    retrained_median: float
    flagged: bool


def over_unlearning(scores: npt.ArrayLike, retrained_scores: npt.ArrayLike, level: float = 0.95) -> OverUnlearning:
    """Compare a model's attack scores on the forget texts with the retrained model's on the same texts (our reading).

    Beyond means above the retrained model's `level` quantile: of two equal models a share of about 1 - level is.
    """
    mine, other = known(scores, "scores"), known(retrained_scores, "scores of the retrained model")
    share = float(np.mean(mine > np.quantile(other, level)))
    return OverUnlearning(share, float(np.median(mine)), float(np.median(other)), share > 0.5)


def _other(evidence: Evidence) -> Evidence:
    assert evidence.retrained is not None  # what `needs` is for
    return evidence.retrained


@metric(
    "forget_quality",
    summary="Can the model's truth ratios be told from the retrained model's?",
    paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
    formula="p-value of the two-sample Kolmogorov-Smirnov test between the truth ratios",
    source="OpenUnlearning's code",
    rows=("33",),
    values=("forget_quality",),
    needs=("perturbed_answers", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric forget_quality --out results",
)
def quality(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    mine, theirs = (truth_ratios(one, benchmark.forget) for one in (evidence, _other(evidence)))
    return {"forget_quality": forget_quality(mine, theirs)}


@metric(
    "privleak",
    summary="How far the Min-K% attack's AUC is from that on the retrained model, in percent.",
    paper="Shi et al. 2024 (MUSE), arXiv 2407.06460",
    formula="100 (A - A_retrained) / A_retrained, A = 1 - AUC; privleak_membership: A = AUC",
    source="OpenUnlearning's code; without a retrained model A_retrained is .5",
    rows=("7",),
    values=("privleak", "privleak_membership"),
    needs=("holdout|texts.privleak_holdout",),
)
def leak(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    mine, base = auc(*attack_scores(evidence, benchmark)["min-k"]), 0.5
    if evidence.retrained is not None:
        base = auc(*attack_scores(evidence.retrained, benchmark)["min-k"])
    return {"privleak": privleak(mine, base), "privleak_membership": privleak(mine, base, "membership")}


@metric(
    "over_unlearned",
    summary="Share of forget texts that look less known than nearly all do to the retrained model.",
    paper="ours",
    formula="share of Min-K%++ scores above the .95 quantile of the retrained model's",
    source="above .5 the model is flagged",
    reading="A model that does not resemble one that never saw the data tells what was removed.",
    values=("over_unlearned",),
    needs=("holdout|texts.privleak_holdout", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric over_unlearned --out results",
)
def beyond(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    mine, theirs = (attack_scores(one, benchmark)["min-k++"][0] for one in (evidence, _other(evidence)))
    return {"over_unlearned": over_unlearning(mine, theirs).share}


@metric(
    "reference_attack",
    summary="The membership attack that takes the retrained model as the reference.",
    paper="Carlini et al. 2021, arXiv 2012.07805",
    formula="LOSS minus the retrained model's LOSS; AUC and true positives at 1% false ones",
    source="no parameters",
    values=("auc_reference", "tpr_reference"),
    needs=("holdout|texts.privleak_holdout", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric reference_attack --out results",
)
def reference(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    mine, theirs = (attack_scores(one, benchmark)["loss"] for one in (evidence, _other(evidence)))
    forget, holdout = (a - b for a, b in zip(mine, theirs, strict=True))
    return {"auc_reference": auc(forget, holdout), "tpr_reference": tpr_at_fpr(forget, holdout)}
