"""Measured: what a gate looks at in one setting, with the least and the most that it may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from leakatk.arrays import Floats

Rows = Sequence[Floats]
Sides = tuple[Rows, Rows | None]  # scores of the audited model, and of the one that it is compared with, row by row


@dataclass(frozen=True)
class Measured:
    """What was measured in one setting.

    least, most: the sides where the leak, or the difference, is as small and as large as what is unknown allows.
    clean: the sides if nothing unknown leaked, in either model.
    clusters: labels of rows that belong together, where some do.
    exact: one deterministic answer, without sampling noise.
    known: whether anything was scored at all.
    prompts, samples, unscored, missing, cut, ignored: as in `runs.results.SettingVerdict`.
    """

    name: str
    least: Sides
    most: Sides
    clean: Sides
    clusters: Sequence[Any] | None
    exact: bool
    known: bool
    prompts: int
    samples: int
    unscored: int
    missing: int
    cut: int
    ignored: int

    @property
    def graded(self) -> bool:
        """Whether scores lie between 0 and 1: a mean leak is then no share of the questions."""
        return not all(bool(((row == 0) | (row == 1)).all()) for row in (*self.least[0], *self.most[0]))
