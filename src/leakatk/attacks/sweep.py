"""Sweeps: the settings of one attack that are tried beside each other, within a budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.attacks.base import Attack


def numbers(attack: Attack, option: str, *, whole: bool = False) -> list[float]:
    """The numbers of an option like 10+50. InputError for what is none; whole: they are whole numbers of at least 1."""
    found: list[float] = []
    text: str = getattr(attack, option)
    for part in filter(None, text.split("+")):
        try:
            value: float = int(part) if whole else float(part)
        except ValueError:
            value = math.nan
        if math.isnan(value) or (whole and value < 1):
            what = "whole numbers of at least 1, as 10+50" if whole else "numbers, as 0.3+1+3"
            raise InputError(f"Attack option {attack.name}:{option} must be {what}, got {text!r:.60}.")
        found.append(value)
    return list(dict.fromkeys(found))


def words(attack: Attack, option: str, allowed: Sequence[str]) -> list[str]:
    """The words of an option like adamw+sgd. InputError for one that is not allowed."""
    text: str = getattr(attack, option)
    found = list(dict.fromkeys(filter(None, text.split("+"))))
    if strange := [word for word in found if word not in allowed]:
        raise InputError(
            f"Attack option {attack.name}:{option} must be of {', '.join(allowed)}, joined by +, got {strange[0]!r:.60}."
        )
    return found


def settings_of(attack: Any) -> tuple[list[Attack], list[str]]:
    """Each setting of a sweep as an attack of its own, and what its budget leaves out, as sentences.

    attack: one with the options steps, times, optimiser, curve, rates, optimisers and budget.
    Settings of one run, which differ in their steps alone, cost the steps of the longest. Runs come in the order of how far their
    rate is from the usual one, and those that the budget is not enough for are left out.
    """
    curve: list[int] = [int(one) for one in numbers(attack, "curve", whole=True)]
    rates, optimisers = numbers(attack, "rates"), [one for one in dict.fromkeys(attack.optimisers.split("+")) if one]
    if not (curve or rates or optimisers or attack.budget):
        return [attack], []
    plain: dict[str, Any] = {"curve": "", "rates": "", "optimisers": "", "budget": 0}
    runs = [
        replace(attack, times=rate, optimiser=optimiser, **plain)
        for rate in sorted(rates or [attack.times], key=lambda rate: abs(math.log(rate)))
        for optimiser in optimisers or [attack.optimiser]
    ]
    stops = sorted(curve or [attack.steps])
    allowed = len(runs) if not attack.budget else min(len(runs), attack.budget // stops[-1])
    if not allowed:
        raise InputError(
            f"Attack {attack.label} may take {attack.budget} steps and its shortest run takes {stops[-1]}; raise budget."
        )
    left = [
        f"{attack.name}: {run.label} is left out, beyond the budget of {attack.budget} steps." for run in runs[allowed:]
    ]
    return [replace(run, steps=steps) for run in runs[:allowed] for steps in stops], left
