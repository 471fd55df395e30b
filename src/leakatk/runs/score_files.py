"""Scores on disk: one Parquet file a scorer, in a folder of its name below a run's directory."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from leakatk.arrays import Floats
from leakatk.errors import UnknownNameError
from leakatk.files import tables
from leakatk.runs import shards


def write(run: Path, name: str, prompt_ids: Sequence[str], scores: Floats, about: Mapping[str, Any]) -> None:
    """Keep (m, n) scores under `name`. about: what is kept with them; "name" is needed."""
    m, n = scores.shape
    columns = {
        "prompt_id": pa.array(np.repeat(np.array(prompt_ids, dtype=object), n), pa.large_string()),
        "sample": pa.array(np.tile(np.arange(n, dtype=np.int32), m)),
        "score": pa.array(scores.ravel()),
    }
    tables.write_table(tables.with_about(pa.table(columns), about), path_of(run, name))


def read(run: Path, name: str) -> tuple[pa.Table, dict[str, Any]]:
    """The table and what was kept with it. UnknownNameError where there is none."""
    path = path_of(run, name)
    if not path.exists():
        raise UnknownNameError("scores", name, names(run) or ["none yet; score the run first"])
    return tables.read_about(path)


def names(run: Path) -> list[str]:
    """Names under which scores are kept, current or not."""
    return sorted(tables.read_about(path)[1]["name"] for path in (run / "scores").glob("*/scores.parquet"))


def path_of(run: Path, name: str) -> Path:
    """Where the scores of this name are."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[:80]
    if safe != name:  # two names must not share a folder
        safe = f"{safe}.{hashlib.sha256(shards.clean_text(name).encode()).hexdigest()[:8]}"
    return run / "scores" / safe / "scores.parquet"
