"""Rounds of RULE in a report, from the record that it keeps beside the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakatk.files.writing import read_kept
from leakatk.report.content import Number, Table

# What a measurement of a strategy is called in a table; the second names are those of former versions' records.
_METRICS = {
    "membership_auc": ("membership AUC", "exposure"),
    "replay_accuracy": ("replay accuracy", "fidelity"),
}


def rounds_table(path: Path, label: str, *, k: int | None = None) -> Table | None:
    """What sampling found at the start of each round, and what was done about it; None without a record or a round.

    What the rounds' strategy measured has columns of its own, where it measured something.

    path: rounds.json.
    k: of the detection's leak@k, for the column's name.
    """
    if not path.exists():
        return None
    record = read_kept(path)
    if not record["rounds"]:
        return None
    measured = [_measured(one) for one in record["rounds"]]
    names = list(dict.fromkeys(name for one in measured for name in one))
    rows: list[tuple[str | Number, ...]] = []
    for r, metrics in zip(record["rounds"], measured, strict=True):
        own = [Number(metrics.get(name, math.nan)) for name in names]
        detected = (Number(_real(r["leak"])), Number(_real(r["high"])))
        rows.append((str(r["round"]), *detected, *own, Number(r["added"], digits=0), Number(r["steps"], digits=0)))
    leak = f"leak@{k} before" if k else "leak before"
    shown = [_METRICS.get(name, (name.replace("_", " "), ""))[0] for name in names]
    columns = ("round", leak, "certified at most", *shown, "new leaks added", "steps")
    return Table(f"{label}, round by round", columns, tuple(rows), f"Ended: {record['verdict']}.")


def _measured(record: Mapping[str, Any]) -> dict[str, float]:
    """What a round's strategy measured, in a record of this version or of a former one; NaN: a measurement without a value."""
    if "metrics" in record:
        return {name: _real(value) for name, value in record["metrics"].items()}
    former = {name: record.get(old) for name, (_, old) in _METRICS.items()}
    return {name: value for name, value in former.items() if value is not None}


def _real(value: float | None) -> float:
    return math.nan if value is None else value
