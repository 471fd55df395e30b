"""Mean and standard deviation over seeds: rows of a results file, one seed each, become one row a model."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.errors import InputError

Row = dict[str, Any]
ENDS = (
    " low",
    " high",
    " sd",
    " seeds",
)  # what stands beside a number in columns of their own: interval, spread over seeds

# What says which row it is, and is no number to be averaged.
_SAME = ("protocol", "decoding", "scorer", "role")
_COUNTS = ("prompts", "unscored")  # added up: of all seeds together
_NOT_AVERAGED = ("seed", "n")


def over_seeds(rows: Sequence[Row]) -> list[Row]:
    """One row for each model (label, role), benchmark, protocol, decoding and core metric, over its seeds.

    A number becomes its mean over the seeds that have it, beside it "NAME sd", the standard deviation between seeds (n - 1 below;
    NaN with one), and "NAME seeds", how many have it. Intervals are left out: they are about one model. A model without a
    label goes by its path. In paths of models and names of benchmarks that differ from seed to seed the seed's number is taken as
    one and the same.

    Raises InputError where one seed has two models of one name.
    """
    paths, benchmarks = _by_seed(rows, "model"), _by_seed(rows, "benchmark")
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        name = row.get("label") or paths[str(row["model"]), row["seed"]]
        key = (name, benchmarks[str(row["benchmark"]), row["seed"]], *(str(row[one]) for one in _SAME))
        groups.setdefault(key, []).append(row)
    names = _short({name for name, *_ in groups})
    return [_mean(found, names[name], benchmark) for (name, benchmark, *_), found in groups.items()]


def _by_seed(rows: Sequence[Row], column: str) -> Mapping[tuple[str, int], str]:
    """(value, seed) -> the value, or where no other seed has it, the value with * for the seed's number."""
    seeds: dict[str, set[int]] = {}
    for row in rows:
        seeds.setdefault(str(row[column]), set()).add(row["seed"])
    return {
        (value, seed): re.sub(rf"(?<!\d){seed}(?!\d)", "*", value) if len(found) == 1 else value
        for value, found in seeds.items()
        for seed in found
    }


def _short(names: set[str]) -> Mapping[str, str]:
    """Each name by the end of its path, as much of it as tells it from the others."""
    found = dict[str, str]()
    for name in names:
        parts = Path(name).parts
        shorter = ["/".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in names if other != name]
        found[name] = next(
            (end for end in shorter if not any(other == end or other.endswith(f"/{end}") for other in others)), name
        )
    return found


def _mean(rows: Sequence[Row], name: str, benchmark: str) -> Row:
    twice = [seed for seed, count in Counter(row["seed"] for row in rows).items() if count > 1]
    if twice:
        raise InputError(
            f"{name} stands for {sum(row['seed'] == twice[0] for row in rows)} models of seed {twice[0]}, which have no mean; give "
            "each a label of its own (leakatk bench --label)."
        )
    first = rows[0]
    made: Row = {**{one: first[one] for one in _SAME}, "model": name, "label": name, "benchmark": benchmark}
    seeds = sorted(row["seed"] for row in rows)
    made |= {"seed": ", ".join(map(str, seeds)), "seeds": len(seeds)}
    made |= {"model_sha256": name, "benchmark_sha256": benchmark, "n": min(row["n"] for row in rows)}
    for column in dict.fromkeys(column for row in rows for column in row):
        values = [row.get(column) for row in rows]
        if column in _NOT_AVERAGED or column.endswith(ENDS) or not any(isinstance(v, int | float) for v in values):
            continue
        known = np.array([v for v in values if isinstance(v, int | float) and math.isfinite(v)], dtype=np.float64)
        if column in _COUNTS:
            made[column] = int(known.sum())
            continue
        made[column] = float(known.mean()) if known.size else math.nan
        made[f"{column} sd"] = float(known.std(ddof=1)) if known.size > 1 else math.nan
        made[f"{column} seeds"] = int(known.size)
    return made


def seeds_sentence(rows: Sequence[Row], columns: Sequence[str]) -> str:
    """What the numbers of averaged rows are of: the seeds, and each number that some seeds lack. "" for other rows."""
    averaged = [row for row in rows if "seeds" in row]
    if not averaged:
        return ""
    same = {row["seed"] for row in averaged}
    said = [f"Mean ± standard deviation over seeds {max(same, key=len)}."]
    fewer = {row["label"]: row["seed"] for row in averaged if row["seed"] != max(same, key=len)}
    said += [f"{label}: seeds {seeds} alone." for label, seeds in fewer.items()]
    for row in averaged:
        lacking: dict[int, list[str]] = {}
        for column in columns:
            count = row.get(f"{column} seeds")
            if count is not None and 0 < count < row["seeds"]:
                lacking.setdefault(count, []).append(column)
        said += [
            f"{row['label']}: {', '.join(names)} of {count} of {row['seeds']} seeds."
            for count, names in lacking.items()
        ]
    return " ".join(said)
