"""Costs of attacks in a dry run: what each computes besides samples, over all models and parts, and how long that may take."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakatk.attacks.base import Cost
from leakatk.attacks.rungs import groups_of
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.progress import format_seconds

if TYPE_CHECKING:
    from leakatk.attacks.rungs import Rung
    from leakatk.models.loaded import LoadedModel

PILOT = 32  # prompts of the pass that is timed
TRAINED = 3.5  # a trained token costs so many read ones: forward, backward and the optimiser


@dataclass(frozen=True)
class Spent:
    """What a rung computes over all models and parts."""

    steps: int
    trained: float
    texts: int
    read: float
    seconds: float
    shared: str = ""
    """The rung whose run it is a point of: its own costs are within those."""


def costs_of(rungs: Sequence[Rung], loaded: LoadedModel | None, models: int) -> dict[str, Spent | None]:
    """Rung -> what it computes on so many models; None where it is not known before, or where no model is in this process.

    Points of one run cost what the farthest does. Seconds are scaled from one timed pass.
    """
    found: dict[str, Spent | None] = {}
    rate = 0.0
    for group in groups_of(rungs):
        last = max(group, key=lambda rung: getattr(rung.attack, "point", 0))
        for rung in group:
            if rung.attack is None:
                continue
            costs = [] if loaded is None else [rung.attack.cost(loaded, part) for part in rung.parts]
            known = [cost for cost in costs if cost is not None]
            if loaded is None or len(known) < len(costs):
                found[rung.name] = None
            elif rung is not last:
                found[rung.name] = Spent(0, 0.0, 0, 0.0, 0.0, last.name)
            else:
                rate = rate or _rate(loaded, rung)
                found[rung.name] = _total(known, models, rate)
    return found


def _total(costs: Sequence[Cost], models: int, rate: float) -> Spent:
    steps, texts = (models * sum(getattr(cost, name) for cost in costs) for name in ("steps", "texts"))
    trained, read = (models * sum(getattr(cost, name) for cost in costs) for name in ("trained", "read"))
    return Spent(steps, trained, texts, read, (TRAINED * trained + read) / rate)


def _rate(loaded: LoadedModel, rung: Rung) -> float:
    """Tokens a second of a pass without gradients."""
    some = [prompt for part in rung.parts for prompt in part.unseen][:PILOT]
    pairs = answer_pairs(loaded, [prompt.query for prompt in some], [prompt.answer for prompt in some])
    token_stats(loaded, pairs[:2])  # the first pass pays for what later ones find ready
    start = time.perf_counter()
    token_stats(loaded, pairs)
    return sum(len(question) + len(answer) for question, answer in pairs) / max(time.perf_counter() - start, 1e-9)


def says_cost(spent: Spent | None) -> str:
    """In words."""
    if spent is None:
        return "What it computes is not known before."
    if spent.shared:
        return f"A point of the run of {spent.shared}."
    parts = []
    if spent.steps:
        each = spent.trained / spent.steps
        parts.append(f"trains {spent.steps:,} steps x {each:,.0f} tokens = {spent.trained:,.0f} tokens")
    if spent.texts:
        parts.append(f"runs the model on {spent.texts:,} texts = {spent.read:,.0f} tokens")
    if not parts:
        return "No run of the model."
    return f"It {' and '.join(parts)}, about {format_seconds(spent.seconds)}."
