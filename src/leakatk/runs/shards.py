"""Shards, append-only: JSON lines, each with a checksum, so that a half-written or damaged line is seen and left out.

A writer starts a new shard and never touches an older one; what a killed process left half-written stays behind a
failing checksum, counts as missing, and is sampled again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa

from leakatk.errors import RunError
from leakatk.files.checksums import sealed, unsealed
from leakatk.prompts import Generation

SCHEMA = pa.schema(
    [
        ("prompt_id", pa.large_string()),
        ("sample", pa.int32()),
        ("text", pa.large_string()),
        ("logprob", pa.float64()),
        ("finish", pa.large_string()),
        ("reasoning", pa.large_string()),
        ("token_ids", pa.large_list(pa.int32())),
    ]
)
_CHUNK = 4096  # rows turned into a table at once: Python's ints are 20 times the size of the table's.


def clean_text(text: str) -> str:
    """The text as it can be stored in UTF-8: surrogate pairs joined, each lone surrogate replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def encode_line(generation: Generation) -> bytes:
    """One line of a shard: a JSON object in ASCII whose last field is the CRC-32 of all before it. NaN is null."""
    body = json.dumps(
        {
            "prompt_id": generation.prompt_id,
            "sample": generation.sample,
            "text": clean_text(generation.text),
            "logprob": None if math.isnan(generation.logprob) else float(generation.logprob),
            "finish": clean_text(generation.finish_reason),
            **({"reasoning": clean_text(generation.reasoning)} if generation.reasoning else {}),
            "token_ids": generation.token_ids,
        },
        separators=(",", ":"),
        default=int,  # integers of numpy
    ).encode()
    return sealed(body) + b"\n"


class ShardWriter:
    """Appends batches to one new file; each batch has reached the operating system when `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("xb", buffering=0)

    def append(self, generations: Sequence[Generation]) -> None:
        """Write all lines or none: when the disk is full, or on an interrupt, what was written of the batch is cut off."""
        data = memoryview(b"".join(map(encode_line, generations)))
        start = self._file.tell()
        try:
            while data:
                data = data[self._file.write(data) :]
        except BaseException:
            self._file.truncate(start)
            self._file.seek(start)
            raise

    def there(self) -> bool:
        """False when the file was removed, moved or replaced since it was opened."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self.path.stat())
        except OSError:
            return False

    def close(self) -> None:
        if not self._file.closed:
            os.fsync(self._file.fileno())
            self._file.close()

    def abandon(self) -> None:
        """Close without waiting for a disk that has already refused."""
        with suppress(OSError):
            self._file.close()


def read_shard(path: Path, *, tokens: bool) -> tuple[list[pa.Table], int]:
    """The tables of a shard (with or without token ids), and the number of lines left out as damaged or cut short."""
    schema = SCHEMA if tokens else SCHEMA.remove(SCHEMA.get_field_index("token_ids"))
    tables, rows, damaged = [], [], 0
    for row in _rows(path):
        if row is None:
            damaged += 1
            continue
        if not tokens:
            del row["token_ids"]
        row.setdefault("reasoning", "")
        row["logprob"] = math.nan if row["logprob"] is None else row["logprob"]
        rows.append(row)
        if len(rows) == _CHUNK:
            tables.append(pa.Table.from_pylist(rows, schema=schema))
            rows = []
    tables.append(pa.Table.from_pylist(rows, schema=schema))
    return tables, damaged


def _rows(path: Path) -> Iterator[dict[str, Any] | None]:
    try:
        with path.open("rb") as file:
            for line in file:
                yield unsealed(line[:-1]) if line.endswith(b"\n") else None
    except FileNotFoundError:
        return  # compacted by its writer since it was listed; its rows are in the Parquet file, which is read later
    except OSError as error:
        raise RunError(f"Cannot read {path}: {error.strerror or error}; check its owner, mode and disk.") from error
