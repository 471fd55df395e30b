"""Flagged prompts: whom a guard acted on, of the prompts to be forgotten and of those that must be answered.

leak@k of a guarded model says nothing of what the guard costs: one that refuses everything leaks nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from leakatk.arrays import Bools
from leakatk.auditing.checking import Checked
from leakatk.estimate.intervals import share_interval
from leakatk.prompts import Prompt
from leakatk.runs.results import FlaggedResult, GuardResult
from leakatk.sampling.base import Guards

FORGET, RETAIN, NEIGHBOURS = "forget", "retain", "neighbours"


def flagged(checked: Checked) -> GuardResult | None:
    """The share of each group of prompts that the guard acted on; None where the model has no guard.

    Nothing is sampled: the detector alone is asked, of neighbours too, which the audit puts to no model.
    """
    guard = checked.sampler
    if not isinstance(guard, Guards):
        return None
    groups = {
        FORGET: checked.prompts,
        **{f"{FORGET}, {one.label}": one.prompts for one in checked.asked},
        RETAIN: checked.retain,
        NEIGHBOURS: guard.neighbours,
    }
    found = shares(guard.flags, groups, guard.fitted_on, checked.settings.level)
    return GuardResult(name=guard.guard_name, always=guard.always, groups=found)


def shares(
    flags: Callable[[Sequence[Prompt]], Bools],
    groups: Mapping[str, Sequence[Prompt]],
    fitted_on: Collection[str],
    level: float,
) -> dict[str, FlaggedResult]:
    """The share of each group that is flagged, with its interval; a group without prompts is left out.

    fitted_on: ids of the retain prompts that the detector has learned from.
    """
    found = {}
    for name, prompts in groups.items():
        if prompts:
            hits = int(flags(prompts).sum())
            low, high = share_interval(hits, len(prompts), level)
            found[name] = FlaggedResult(
                flagged=hits,
                m=len(prompts),
                value=hits / len(prompts),
                low=low,
                high=high,
                fitted=sum(prompt.id in fitted_on for prompt in prompts) if name == RETAIN else 0,
            )
    return found
