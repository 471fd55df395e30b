"""Generations of a run as one table, wherever they lie: in shards while sampling, in a Parquet file afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from leakatk.arrays import Ints
from leakatk.errors import RunError
from leakatk.files import tables as files
from leakatk.runs import shards


def parquet(run: Path) -> Path:
    """The file of the compacted generations."""
    return run / "generations.parquet"


def shard_paths(run: Path) -> list[Path]:
    """The shards, oldest first."""
    return sorted((run / "generations").glob("*.jsonl"))


def next_shard(run: Path) -> Path:
    """Where the next shard goes."""
    folder = run / "generations"
    folder.mkdir(exist_ok=True)
    last = max((int(path.stem) for path in shard_paths(run)), default=0)
    return folder / f"{last + 1:06d}.jsonl"


def read_generations_of(run: Path, rows: Mapping[str, int], *, tokens: bool) -> tuple[pa.Table, int]:
    """Everything on disk, sorted by (row, sample), the first of each kept, and how many lines were damaged.

    rows: prompt id -> row.  tokens: with the token ids. RunError for generations of other prompts.
    """
    found, damaged = [], 0
    # Shards first: a writer that compacts meanwhile puts their rows in the Parquet file before it removes them.
    for path in shard_paths(run):
        tables, bad = shards.read_shard(path, tokens=tokens)
        found += tables
        damaged += bad
    if parquet(run).exists():
        found.insert(0, _read_parquet(parquet(run), tokens=tokens))
    schema = shards.SCHEMA if tokens else shards.SCHEMA.remove(shards.SCHEMA.get_field_index("token_ids"))
    table = pa.concat_tables([schema.empty_table(), *found]).combine_chunks()
    key = rows_of(table, rows, run) * 2**31 + np.asarray(table["sample"], dtype=np.int64)
    _, first = np.unique(key, return_index=True)
    return table.take(pa.array(first)), damaged


def rows_of(table: pa.Table, rows: Mapping[str, int], run: Path) -> Ints:
    """The row of each line of the table. RunError where it is of a prompt that the run does not have."""
    try:
        return np.array([rows[id] for id in table["prompt_id"].to_pylist()], dtype=np.int64)
    except KeyError as error:
        raise RunError(
            f"{run} holds generations of prompt {error.args[0]!r}, which is not among its prompts; "
            "files of two runs were mixed, restore it from a copy."
        ) from None


def _read_parquet(path: Path, *, tokens: bool) -> pa.Table:
    wanted = [name for name in shards.SCHEMA.names if tokens or name != "token_ids"]
    if "reasoning" not in files.column_names(path):  # written before it was kept
        wanted.remove("reasoning")
    table = files.read_table(path, wanted)
    if "reasoning" not in wanted:
        where = table.column_names.index("finish") + 1
        none = pa.array([""] * table.num_rows, pa.large_string())
        table = table.add_column(where, "reasoning", none)
    return table
