"""What an evaluation of one model holds, and what it gains from the retrained model beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from leakatk.arrays import Floats as Floats
from leakatk.metrics import privacy, utility

Scores = Mapping[str, tuple[Floats, Floats]]
Pairs = Sequence[tuple[Sequence[int], Sequence[int]]]  # (prompt ids, ids that are scored) of each text


@dataclass(frozen=True, slots=True)
class Passes:
    """What the evaluation of one model computes: its cost before it is run.

    forward: the texts of a forward pass.  backward: those of the gradient-norm attack, forward and backward.  answers:
    greedy answers drawn.
    """

    forward: Pairs = ()
    backward: Pairs = ()
    answers: int = 0


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one model. values: name -> number, NaN where undefined.  ratios: truth ratios of the forget prompts.

    scores: attack -> (forget scores, holdout scores), low for a likely member.
    """

    values: Mapping[str, float]
    ratios: Floats = field(default_factory=lambda: np.zeros(0))
    scores: Scores = field(default_factory=dict)


def against(evaluation: Evaluation, retrained: Evaluation | None) -> Evaluation:
    """The same evaluation with what needs the retrained model: forget quality, PrivLeak, over-unlearning, reference attack.

    privleak is in MUSE's sign, privleak_membership in the other; without a retrained model they are taken against an
    AUC of .5 and the rest is NaN. over_unlearned is the share of `privacy.over_unlearning` on Min-K%++; above .5 the
    model is flagged. The reference attack takes the retrained model as the reference (Carlini et al. 2021).
    """
    found = dict.fromkeys(
        ("forget_quality", "privleak", "privleak_membership", "over_unlearned", "auc_reference", "tpr_reference"),
        math.nan,
    )
    if evaluation.scores:
        base = 0.5 if retrained is None else retrained.values["auc_min-k"]
        for name, convention in (("privleak", "muse"), ("privleak_membership", "membership")):
            found[name] = privacy.privleak(evaluation.values["auc_min-k"], base, convention)  # type: ignore[arg-type]
    if retrained is not None:
        if evaluation.ratios.size and retrained.ratios.size:
            found["forget_quality"] = utility.forget_quality(evaluation.ratios, retrained.ratios)
        if evaluation.scores and retrained.scores:
            beyond = privacy.over_unlearning(evaluation.scores["min-k++"][0], retrained.scores["min-k++"][0])
            found["over_unlearned"] = beyond.share
            forget, holdout = (
                mine - other for mine, other in zip(evaluation.scores["loss"], retrained.scores["loss"], strict=True)
            )
            found["auc_reference"] = privacy.auc(forget, holdout)
            found["tpr_reference"] = privacy.tpr_at_fpr(forget, holdout)
    return replace(evaluation, values={**evaluation.values, **found})
