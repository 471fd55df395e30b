"""Flagged prompts: whom a guard acted on, of the prompts to be forgotten and of those that must be answered.

leak@k of a guarded model says nothing of what the guard costs: one that refuses everything leaks nothing.
"""

from __future__ import annotations

from leakatk.auditing.checking import Checked
from leakatk.estimate.intervals import share_interval
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
    found = {}
    for name, prompts in groups.items():
        if prompts:
            hits = int(guard.flags(prompts).sum())
            low, high = share_interval(hits, len(prompts), checked.settings.level)
            found[name] = FlaggedResult(
                flagged=hits,
                m=len(prompts),
                value=hits / len(prompts),
                low=low,
                high=high,
                fitted=sum(prompt.id in guard.fitted_on for prompt in prompts) if name == RETAIN else 0,
            )
    return GuardResult(name=guard.guard_name, always=guard.always, groups=found)
