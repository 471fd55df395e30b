"""Repair after unlearning: the same model fine-tuned on ever more of the retain set, and what comes back with it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.weights import put
from leakatk.prompts import Prompt
from leakatk.runs.tracking import go_on
from leakatk.scorers.base import Scorer
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stop import greedy_scores
from leakatk.unlearning.trainer import unlearn


@dataclass(frozen=True, slots=True)
class Repaired:
    """One point of the curve. Scores are means of greedy answers; NaN where there is no such prompt."""

    percent: float
    """Of the retain prompts, those that it was repaired with; 0: as it was given."""
    prompts: int
    forget: float
    shown: float
    """Of the retain prompts that the repair was shown."""
    not_shown: float
    """Of the others."""
    unscored: int
    """Prompts of all three whose greedy answer has no score; they are in no mean."""

    def as_dict(self) -> dict[str, Any]:
        return {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in asdict(self).items()}


def parts(retain: Sequence[Prompt], percents: Sequence[float], seed: int) -> dict[float, list[Prompt]]:
    """Percent -> so many of the prompts, rounded up, in their order; a smaller part is within every larger one.

    InputError for a percent outside (0, 100], one given twice, or no retain prompt.
    """
    if not percents or any(not 0 < percent <= 100 for percent in percents) or len(set(percents)) < len(percents):
        raise InputError(
            f"Percents must be above 0, at most 100 and each given once, got {', '.join(map(str, percents)) or 'none'}."
        )
    if not retain:
        raise InputError("There is nothing to repair with; give retain prompts.")
    order = list(range(len(retain)))
    random.Random(f"repair {seed}").shuffle(order)
    counts = {percent: math.ceil(percent / 100 * len(retain)) for percent in sorted(percents)}
    return {percent: [retain[i] for i in sorted(order[:count])] for percent, count in counts.items()}


def repair_curve(
    loaded: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    percents: Sequence[float],
    *,
    settings: TrainSettings,
    scorer: Scorer,
    max_new_tokens: int = 64,
    seed: int = 0,
    out: str | Path | None = None,
    on_point: Callable[[Repaired], None] = lambda point: None,
    quiet: bool = False,
) -> list[Repaired]:
    """The model as it is, and after training on NLL(retain answers) of each part, each from the same weights; these are put back.

    settings: the same for all, so that steps are equal and data differ.  out: each repaired model is kept under OUT/percent-P, and a killed
    curve goes on there.  on_point: called with each point.  Errors as of `parts` and `unlearn`.
    """
    chosen = parts(retain, percents, seed)
    start = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}

    def measured(percent: float, shown: Sequence[Prompt]) -> Repaired:
        ids = {prompt.id for prompt in shown}
        sets = forget, shown, [prompt for prompt in retain if prompt.id not in ids]
        (left, a), (now, b), (beside, c) = (_mean(loaded, prompts, scorer, max_new_tokens) for prompts in sets)
        point = Repaired(percent, len(shown), left, now, beside, unscored=a + b + c)
        on_point(point)
        return point

    points = [measured(0.0, [])]
    try:
        for percent, some in chosen.items():
            go_on()
            put(loaded.model, start, partly=True)
            place = None if out is None else Path(out) / f"percent-{percent:g}"
            unlearn(loaded, forget, some, "retrain", settings=settings, seed=seed, out=place, quiet=quiet)
            points.append(measured(percent, some))
    finally:
        put(loaded.model, start, partly=True)
    return points


def _mean(loaded: LoadedModel, prompts: Sequence[Prompt], scorer: Scorer, longest: int) -> tuple[float, int]:
    """Mean score, and how many have none."""
    scores = greedy_scores(loaded, prompts, scorer, max_new_tokens=longest).tolist() if prompts else []
    known = [score for score in scores if math.isfinite(score)]
    return sum(known) / len(known) if known else math.nan, len(scores) - len(known)
