"""Advice on a verdict of CANNOT SAY: what would settle it, more samples, more prompts, or what is unknown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from leakatk.auditing.measured import Measured, Sides
from leakatk.auditing.reasons import counts
from leakatk.auditing.settings import Gate
from leakatk.estimate.settle import MOST_PROMPTS, MOST_SAMPLES, prompts_to_settle, samples_to_settle
from leakatk.estimate.ustatistic import per_prompt_leak
from leakatk.runs.results import SettingVerdict

CHANCE = 0.8
IF = "in 4 of 5 audits, if the leak is as measured"


def settles(settings: Sequence[Measured], found: Sequence[SettingVerdict], gate: Gate, level: float) -> str:
    """One sentence on what would turn CANNOT SAY into an answer.

    settings: those that cannot say.  found: what was found of all.  level: of one interval.

    Where even the least leak is above the bound in one of them, the fewest samples that make it FAIL. Otherwise all must pass:
    the most samples that one of them needs, unless what is unknown stands in the way of any.
    """
    failing = [_wanted(one, one.least, gate, level) for one in settings if _value(one.least, one, gate) > gate.bound]
    if failing:
        return _said(min(failing, key=_many), "FAIL", settings, gate)
    told = {one.name: one for one in found}
    for one in settings:
        if not one.known:
            return f"Nothing was measured ({one.name}): {counts(told[one.name])}. {_remedy(one)}"
        if _value(one.most, one, gate) > gate.bound:
            return f"No number of samples, while {counts(told[one.name])} ({one.name}). {_remedy(one)}"
    return _said(max((_wanted(one, one.most, gate, level) for one in settings), key=_many), "PASS", settings, gate)


def _many(wanted: int | None) -> float:
    return math.inf if wanted is None else wanted


def _value(sides: Sides, one: Measured, gate: Gate) -> float:
    """leak@k, or the difference, of one setting."""
    ks = np.array([1 if one.exact else gate.k])
    mine, theirs = (None if rows is None else float(per_prompt_leak(list(rows), ks).mean()) for rows in sides)
    assert mine is not None
    return mine - (theirs or 0.0)


def _wanted(one: Measured, sides: Sides, gate: Gate, level: float) -> int | None:
    """Samples a prompt, or prompts, that settle one setting."""
    how: dict[str, Any] = {"against": sides[1], "level": level, "chance": CHANCE}
    k = 1 if one.exact else gate.k
    if gate.over == "samples":
        return samples_to_settle(sides[0], k, gate.bound, **how)
    return prompts_to_settle(sides[0], k, gate.bound, over=gate.over, clusters=one.clusters, **how)


def _said(wanted: int | None, answer: str, settings: Sequence[Measured], gate: Gate) -> str:
    if gate.over != "samples":
        now = max(one.prompts for one in settings)
        if wanted is None:
            return f"More than {MOST_PROMPTS:,} prompts: the leak is too near the bound."
        # Rows are variants of prompts in other ways of asking: so many times more prompts as rows.
        rows = max(len(one.least[0]) for one in settings)
        return f"About {_round(now * wanted / rows):,} prompts like these (now {now:,}): {answer} {IF}."
    if wanted is None:
        return f"More than {MOST_SAMPLES:,} samples a prompt: the leak is too near the bound."
    now = min(row.size for one in settings for row in one.least[0])
    of = " of both models" if gate.against else ""
    return f"About {_round(wanted):,} samples a prompt{of} (now {now:,}): {answer} {IF}."


def _round(value: float) -> int:
    """Up, to two significant digits."""
    step: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return math.ceil(value / step) * step


def _remedy(one: Measured) -> str:
    said = []
    if one.cut:
        said.append("raise --max-new-tokens")
    if one.unscored or one.missing:
        said.append("choose a --scorer that scores every prompt")
    text = " and ".join(said)
    return f"{text[0].upper()}{text[1:]}." if text else ""
