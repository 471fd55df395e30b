"""Answers that questions turn: forgotten ones that an attack gets said, kept ones that it spoils; greedily, both ways.

What `out` holds of it, for each model:

    none/turned/model/forget, .../retain              the greedy answers without an attack
    key-tokens/turned/model/forget, .../retain        those to the attack's questions
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from leakatk.arrays import Floats
from leakatk.auditing.sample import sample
from leakatk.auditing.score import score
from leakatk.prompts import Prompt
from leakatk.runs.store import Run

if TYPE_CHECKING:
    from leakatk.attacks.rungs import LadderSettings, Role
    from leakatk.sampling.base import Sampler

FOLDER = "turned"
RIGHT = 0.5  # the least score of an answer that counts as right


@dataclass(frozen=True)
class Asked:
    """What is asked of one model: sides ("forget", "retain") with the prompts as they stand, and as the attack asks them."""

    plain: Mapping[str, Sequence[Prompt]]
    attacked: Mapping[str, Sequence[Prompt]]


def draw(sampler: Sampler, role: Role, asked: Asked, out: Path, place: Path, settings: LadderSettings) -> None:
    """Answer greedily what stands in `asked`. place: of the rung under `out`. Runs that are whole are not made again."""
    for folder, sides in ((out / "none", asked.plain), (place, asked.attacked)):
        for side, prompts in sides.items():
            sample(
                sampler, prompts, n=1, decoding=settings.decoding.as_greedy(), seed=settings.seed,
                out=folder / FOLDER / role / side, benchmark=settings.benchmark, label=f"{side} prompts, greedily",
                quiet=settings.quiet,
            )  # fmt: skip


def counted(out: Path, place: Path, role: Role, scorer: str, level: float) -> dict[str, Any]:
    """recovered: of the forget prompts not answered as they stand, those answered under the attack.  destroyed: of the
    retain prompts answered as they stand, those no longer answered under it.
    """
    found = {}
    for name, side, was in (("recovered", "forget", False), ("destroyed", "retain", True)):
        before = _right(out / "none" / FOLDER / role / side, scorer)
        after = _right(place / FOLDER / role / side, scorer)
        found[name] = turned(before, after, was=was, level=level)
    return found


def turned(before: Mapping[str, float], after: Mapping[str, float], *, was: bool, level: float) -> dict[str, Any]:
    """How many of the answers that were right (`was`), or were not, are the other way round afterwards; Clopper-Pearson.

    before, after: prompt id -> score, NaN where there is none.  of: prompts that were so and have both scores.  undefined:
    prompts that were asked both times and lack a score.
    """
    both = [i for i in before if i in after]
    defined = [i for i in both if np.isfinite([before[i], after[i]]).all()]
    those = [i for i in defined if (before[i] >= RIGHT) == was]
    count = sum((after[i] >= RIGHT) != was for i in those)
    found: dict[str, Any] = {"of": len(those), "count": count, "undefined": len(both) - len(defined)}
    if not those:
        return {**found, "value": float("nan"), "low": float("nan"), "high": float("nan")}
    interval = stats.binomtest(count, len(those)).proportion_ci(level, method="exact")
    return {**found, "value": count / len(those), "low": float(interval.low), "high": float(interval.high)}


def _right(path: Path, scorer: str) -> dict[str, float]:
    run = Run.open(path)
    scores: Floats = score(run, scorer)
    return {i: float(row[0]) for i, row in zip(run.prompt_ids, scores, strict=True)}
