"""A gate over an audit under attack: one verdict on every rung that is sampled, with intervals that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leakatk.attacks.base import Read
from leakatk.attacks.rungs import LadderSettings, Rung
from leakatk.auditing.verdict import Gate, Setting, judge, setting_of
from leakatk.runs.store import Run


def verdict(rungs: Sequence[Rung], out: Path, settings: LadderSettings, gate: Gate) -> dict[str, Any]:
    """The verdict on the model's samples and greedy answers under every attack that is sampled, and without one.

    It is judged on the headline scorer. Attacks that read have no samples and do not count.
    """
    found = []
    for rung in rungs:
        if isinstance(rung.attack, Read):
            continue
        ways = [(settings.decoding.label, Path("model"), settings.decoding.greedy)]
        ways += [] if settings.decoding.greedy else [("greedy", Path("model") / "greedy", True)]
        for how, place, exact in ways:
            runs = [Run.open(out / rung.place(number) / place) for number in range(len(rung.parts))]
            parts = [setting_of("", run, settings.scorers[0], gate, {}, exact=exact) for run in runs]
            found.append(joined(f"{rung.name}: {how}" if rung.attack else f"without an attack: {how}", parts))
    return judge(found, gate).as_dict()


def joined(name: str, parts: Sequence[Setting]) -> Setting:
    """The folds of one rung as one setting: each has prompts of its own."""
    return Setting(
        name=name,
        low={i: row for part in parts for i, row in part.low.items()},
        high={i: row for part in parts for i, row in part.high.items()},
        owners={i: owner for part in parts for i, owner in part.owners.items()},
        exact=parts[0].exact,
        unscored=sum(part.unscored for part in parts),
        missing=sum(part.missing for part in parts),
        cut=sum(part.cut for part in parts),
        ignored=sum(part.ignored for part in parts),
    )
