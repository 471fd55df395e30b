"""Differences between audited runs, paired by prompt, with intervals that hold together and a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from leakatk.arrays import Floats
from leakatk.estimate.curves import ExcessCurve, Over
from leakatk.estimate.leak import excess
from leakatk.report.audited import Audited
from leakatk.report.content import Number, Table
from leakatk.text import percent


@dataclass(frozen=True, slots=True)
class Difference:
    """leak@k of one run minus that of another on the `shared` prompts, with its interval."""

    k: int
    value: float
    low: float
    high: float
    shared: int

    @property
    def words(self) -> str:
        """What it says: "75 points less (60 to 85)"; a point is a hundredth."""
        ends = f"{points(self.low)} to {points(self.high)}"
        if self.low > 0:
            return f"{points(self.value)} points more ({ends})"
        if self.high < 0:
            return f"{points(-self.value)} points less ({points(-self.high)} to {points(-self.low)})"
        return f"no difference can be told ({ends} points)"


def difference_at(curve: ExcessCurve, at: int) -> Difference:
    """One place of a curve of differences."""
    value, low, high = (float(part[at]) for part in (curve.value, curve.low, curve.high))
    return Difference(int(curve.k[at]), value, low, high, curve.m)


def points(share: float) -> str:
    """A difference of shares in percentage points, in two significant digits: "−3.1"."""
    return percent(share).removesuffix("%").replace("-", "−")


def differences(
    one: Audited, other: Audited, ks: Sequence[int], *, scorer: str, over: str = "samples", level: float = 0.95
) -> list[Difference]:
    """leak@k of one run minus the other's at each k, over the prompts on which the scorer is defined in both.

    Empty where they share no prompt, or one alone with intervals over prompts; a k beyond the samples of either is left out.
    """
    mine, theirs = _rows(one, scorer), _rows(other, scorer)
    shared = [i for i in mine if i in theirs]
    wanted = [k for k in ks if k <= min(one.run.n, other.run.n)]
    if not wanted or len(shared) < (1 if over == "samples" else 2):
        return []
    found = excess(
        [mine[i] for i in shared],
        [theirs[i] for i in shared],
        wanted,
        over=cast(Over, over),
        level=level,
        missing="allow",
    )
    return [difference_at(found, at) for at in range(len(wanted))]


def _rows(audited: Audited, scorer: str) -> dict[str, Floats]:
    """Prompt id -> scores of its samples, where there are any."""
    if scorer not in audited.run.score_names():
        return {}
    scores = audited.run.scores(scorer)
    return {i: row for i, row in zip(audited.run.prompt_ids, scores, strict=True) if np.isfinite(row).any()}


def differences_table(audits: Sequence[Audited], ks: Sequence[int], k: int, *, over: str) -> Table | None:
    """Every run minus the first, in numbers at `ks` and in words at k; None with one run, or none that can be paired.

    The intervals of all rows hold together at the audit's level (Bonferroni).
    """
    base, *others = audits
    if not others:
        return None
    scorer, level = base.scorer, base.results.level
    each = 1 - (1 - level) / len(others)
    columns = sorted({*ks, k})
    rows: list[tuple[str | Number, ...]] = []
    alone, part = [], {}
    for one in others:
        found = {d.k: d for d in differences(one, base, columns, scorer=scorer, over=over, level=each)}
        if k not in found:
            alone.append(one.label)
            continue
        if found[k].shared < min(len(one.run.prompts), len(base.run.prompts)):
            part[one.label] = found[k].shared
        cells = (Number(d.value, d.low, d.high) if (d := found.get(at)) else "" for at in columns)
        rows.append((one.label, *cells, found[k].words))
    if not rows:
        return None
    together = f"; those of all {len(others)} rows hold together" if len(others) > 1 else ""
    caption = (
        f"Scorer {scorer}; leak@k minus that of {base.label}, paired by prompt; {level:.0%} intervals over {over}{together}. "
        f"In words at k = {k}; a point is a hundredth."
    )
    if part:
        caption += (
            " Not on all prompts: " + ", ".join(f"{name} on {count} shared ones" for name, count in part.items()) + "."
        )
    if alone:
        caption += f" Not to be paired with {base.label}: {', '.join(alone)}."
    names = ("model", *(f"difference@{at}" for at in columns), "in words")
    return Table(f"Differences from {base.label}", names, tuple(rows), caption)
