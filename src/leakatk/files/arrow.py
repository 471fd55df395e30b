"""Arrow files (Feather) and Arrow streams, such as the data sets that `datasets` keeps on disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, first_line

ROWS = 64  # made Python objects of at a time


def arrow_rows(
    path: Path, content: bytes, wanted: set[str] | None, most: int
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """(number, place, row) for each row. wanted: columns whose values are needed, others are None; most: bytes of all of them.

    InputError for what is no such file, is damaged, or unpacks to more.
    """
    import pyarrow as pa

    number, held = 0, 0
    try:
        buffer = pa.BufferReader(content)
        opened = pa.ipc.open_file(buffer) if content.startswith(b"ARROW1") else pa.ipc.open_stream(buffer)
        names = opened.schema.names
        read = [name for name in names if wanted is None or name in wanted]
        if len(set(names)) < len(names):
            raise InputError(f"{path}: two columns share a name: {', '.join(names)[:200]}; name each once.")
        batches = (
            (opened.get_batch(i) for i in range(opened.num_record_batches)) if content.startswith(b"ARROW1") else opened
        )
        for batch in batches:
            batch.validate(full=True)  # offsets of a damaged file may lead anywhere
            part = batch.select(read)
            held += part.nbytes
            if held > most:
                raise InputError(f"{path} unpacks to more than {most >> 20} MB, the most that is read; split it.")
            for start in range(0, part.num_rows, ROWS):
                rows = part.slice(start, ROWS)
                for row in rows.to_pylist() if read else [{}] * rows.num_rows:
                    number += 1
                    yield number, f"{path}, row {number}", {name: row.get(name) for name in names}
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, ArithmeticError, RuntimeError) as error:
        raise InputError(
            f"{path}: not a readable Arrow file ({first_line(error)}, row {number + 1}); save it again, or as JSON lines."
        ) from None
