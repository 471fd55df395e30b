"""RULE's rounds, from the record that it keeps beside the model."""

from __future__ import annotations

import math
from pathlib import Path

from leakatk.files.writing import read_kept
from leakatk.report.content import Number, Table


def rounds_table(path: Path, label: str, *, k: int | None = None) -> Table | None:
    """What sampling found at the start of each round, and what was done about it; None without a record or a round.

    path: rounds.json.  k: of the detection's leak@k, for the column's name.
    """
    if not path.exists():
        return None
    record = read_kept(path)
    if not record["rounds"]:
        return None
    rows = tuple(
        (
            str(r["round"]),
            Number(_real(r["leak"])),
            Number(_real(r["high"])),
            Number(r["added"], digits=0),
            Number(r["steps"], digits=0),
        )
        for r in record["rounds"]
    )
    leak = f"leak@{k} before" if k else "leak before"
    columns = ("round", leak, "certified at most", "new leaks added", "steps")
    return Table(f"{label}, round by round", columns, rows, f"Ended: {record['verdict']}.")


def _real(value: float | None) -> float:
    return math.nan if value is None else value
