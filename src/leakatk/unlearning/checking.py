"""Checks between the steps of a run, and how much of them it can afford: at most a fifth of its time, by counted tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from leakatk.models.loaded import LoadedModel
from leakatk.unlearning.record import Position
from leakatk.unlearning.settings import Check, OnCheck, Thrifty

SHARE = 0.25  # of the tokens trained on: a fifth of training and checks together


@dataclass
class Checks:
    """The checks of one Train stage. What they may ask depends on counted tokens alone, so a run that goes on asks the same.

    tokens: what a step trains on, by its number.  total: steps of the stage.  floor: of the utility.
    """

    on_check: OnCheck
    position: Position
    tokens: Callable[[int], int]
    total: int
    floor: float

    def __post_init__(self) -> None:
        self._counted, self._trained = 0, 0
        self._all = sum(self.tokens(step) for step in range(self.total)) if isinstance(self.on_check, Thrifty) else 0

    def ask(self, loaded: LoadedModel, done: int, last: bool = False) -> Check:
        """The check after `done` steps of the stage; the one after the last step, which may come early, asks everything."""
        check, last = self.on_check, last or done == self.total
        if last or not isinstance(check, Thrifty):
            return check(loaded, self.position.step)
        while self._counted < done:
            self._trained += self.tokens(self._counted)
            self._counted += 1
        spent = sum(row.get("work", 0.0) for row in self.position.checks)
        # What the last check costs is laid aside.
        allowed = min(SHARE * self._trained, SHARE * self._all - check.whole_work) - spent
        return check.within(loaded, self.position.step, max(0.0, allowed), floor=self.floor)


def left_out(position: Position) -> str:
    """A sentence on the checks that asked fewer prompts than all; "" without any."""
    fewer = [row for row in position.checks if row.get("left_out")]
    if not fewer:
        return ""
    none = sum(not (row["forget_asked"] or row["retain_asked"]) for row in fewer)
    return (
        f"{len(fewer)} of {len(position.checks)} checks did not ask every prompt ({none} of them asked none), where a few "
        "settled the rule or to keep checks to a fifth of the training; unlearning.json says for each how many it asked."
    )
