"""Parquet tables of a run: read and written, whole or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from leakatk.errors import RunError
from leakatk.files.checksums import verify
from leakatk.files.writing import write_kept

MOST_BYTES = 16 << 30  # bytes of a table before compression: far above what a run holds


def read_text(path: Path, remedy: str = "") -> str:
    """A file of ours as text. remedy: what helps, besides a copy, when it is damaged (see `checksums.verify`)."""
    verify(path, remedy)
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RunError(f"{path} is damaged (not UTF-8 at byte {error.start}); restore it from a copy.") from None
    except OSError as error:
        raise RunError(
            f"Cannot read {path}: {error.strerror or error}; check that it is there and readable."
        ) from error


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    verify(path, "move it away and start the same command again: what it held is made anew")
    try:
        about = pq.read_metadata(path)  # a few kilobytes of Parquet may unpack to gigabytes, and say so here
        size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
        if size > MOST_BYTES:
            raise RunError(
                f"{path} unpacks to {size:,} bytes, and at most {MOST_BYTES:,} are read: restore it from a copy, or ask for "
                "fewer samples a run."
            )
        return pq.read_table(path, columns=columns, partitioning=None)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error


def column_names(path: Path) -> list[str]:
    """Of a table on disk, which is not read for that."""
    try:
        names: list[str] = pq.read_schema(path).names
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, error) from error
    return names


def _damaged(path: Path, error: Exception) -> RunError:
    reason = str(error).strip().split("\n")[0].rstrip(".")
    return RunError(
        f"{path} is damaged or unreadable ({reason:.120}); restore it from a copy, or move it away and start the same "
        "command again: what it held is made anew."
    )


def write_table(table: pa.Table, path: Path) -> None:
    """As Parquet, compressed with zstd, with its checksum."""
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_kept(path, buffer.getvalue())


def with_about(table: pa.Table, about: Mapping[str, Any]) -> pa.Table:
    """The table with JSON about it in its metadata, so that both are one file."""
    return table.replace_schema_metadata({"leakatk": json.dumps(about, default=str)})


def read_about(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """A table and what `with_about` kept with it."""
    table = read_table(path)
    try:
        return table, json.loads((table.schema.metadata or {})[b"leakatk"])
    except (KeyError, json.JSONDecodeError):
        raise RunError(f"{path} is no score file of a leakatk run; move it away.") from None
