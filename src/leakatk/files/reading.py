"""Reading of what a user gives: a file that is one, of bounded size and depth, and never for ever.

JSON lines, one JSON list or object, CSV and TSV, Parquet, Arrow: all become (place, row) pairs, the place such as "f.jsonl, line 3".
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from leakatk.errors import InputError, first_line

MAX_WHOLE = 256 << 20  # bytes of a file that is held whole; as Python objects it takes ten times as much
MAX_LINES = 1 << 30  # bytes of a file that is read line by line
MAX_LINE = 64 << 20  # bytes of one of its lines
MAX_ROWS = 5_000_000
MAX_DEPTH = 64  # of lists and objects within one another
MAX_DIGITS = 40  # of a whole number

Row = dict[str, Any]

_KINDS = (
    (stat.S_ISDIR, "is a directory; give the file inside it"),
    (stat.S_ISFIFO, "is a pipe; save what comes through it to a file first, and give that file"),
    (stat.S_ISSOCK, "is a socket, not a file; save what comes through it to a file first, and give that file"),
    (stat.S_ISCHR, "is a device, not a file; save what it gives to a file first, and give that file"),
    (stat.S_ISBLK, "is a device, not a file; give a file on it"),
)
_PACKED = (  # how a file begins, what it is then, what to do
    (b"\x1f\x8b", "compressed with gzip; unpack it first with `gunzip -c {0} > FILE`"),
    (b"BZh", "compressed with bzip2; unpack it first with `bunzip2 -c {0} > FILE`"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it first with `xz -dc {0} > FILE`"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it first with `zstd -dc {0} > FILE`"),
    (b"PK\x03\x04", "a zip archive, as workbooks of Excel are; save what is in it as JSON lines or CSV"),
    (b"version https://git-lfs", "a pointer of git-lfs, not the file itself; fetch it with `git lfs pull`"),
)  # fmt: skip
PARQUET = b"PAR1"
ARROW = (
    b"ARROW1",
    b"\xff\xff\xff\xff",
)  # how a file of Arrow (Feather) begins, and a stream, as datasets keeps on disk


@contextmanager
def opened(path: str | Path, most: int) -> Iterator[BinaryIO]:
    """The file for reading. InputError for what is no file, cannot be read, or holds more than `most` bytes."""
    path = Path(path)
    try:
        _check(path, path.stat(), most)
        # A pipe put there meanwhile must not make this wait.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(handle, "rb") as file:
            _check(path, os.fstat(file.fileno()), most)
            yield file
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path.") from None
    except PermissionError:
        raise InputError(f"{path}: no permission to read it; check its owner and mode.") from None
    except OSError as error:  # a loop of links, a name that is too long, a broken disk
        if error.errno in (errno.EMFILE, errno.ENFILE):  # not the file's fault
            raise
        raise InputError(f"{path}: {error.strerror or error}; give another file.") from None
    except ValueError as error:
        if isinstance(error, InputError) or "\0" not in str(path):
            raise
        raise InputError(f"{str(path)!r} holds a NUL, which no path can hold; check the path.") from None


def _check(path: Path, about: os.stat_result, most: int) -> None:
    for matches, sentence in _KINDS:
        if matches(about.st_mode):
            raise InputError(f"{path} {sentence}.")
    if about.st_size > most:
        raise _too_large(path, most)


def _too_large(path: Path, most: int) -> InputError:
    return InputError(
        f"{path} holds more than {most >> 20 or 1} MB, the most that is read; split it, or give what is needed of it."
    )


def check_directory(place: Path, *, entries: int = 100_000) -> None:
    """InputError where a directory that is read holds what is no file under the name of one, or a JSON file beyond reading.

    Directories are looked through to so many entries, which no run comes near.
    """
    if place.exists() and not place.is_dir():
        _check(place, place.stat(), sys.maxsize)
    seen = 0
    for folder, _, names in os.walk(place):
        for name in names:
            seen += 1
            if seen > entries:
                return
            path = Path(folder) / name
            if path.suffix not in (".json", ".jsonl", ".parquet", ".toml", ".checksums"):
                continue
            try:
                _check(path, path.stat(), MAX_WHOLE if path.suffix == ".json" else sys.maxsize)
            except FileNotFoundError:
                continue  # a link that leads nowhere, or removed meanwhile: who reads it says so
            except OSError as error:
                raise InputError(f"{path}: {error.strerror or error}; restore it from a copy.") from None


def read_bytes(path: str | Path, *, most: int = MAX_WHOLE) -> bytes:
    """The whole file. InputError for what `opened` refuses."""
    with opened(path, most) as file:
        content = file.read(most + 1)  # files of the system have no size, and may have no end
    if len(content) > most:
        raise _too_large(Path(path), most)
    return content


def read_text(path: str | Path, *, most: int = MAX_WHOLE) -> str:
    """The file as UTF-8 text. InputError says what is wrong with the file and what to do."""
    content = read_bytes(path, most=most)
    _check_packed(path, content)
    return _decoded(content, path, 0)


def _check_packed(path: str | Path, start: bytes) -> None:
    for mark, what in _PACKED:
        if start.startswith(mark):
            raise InputError(f"{path}: {what.format(path)}.")


def _decoded(content: bytes, path: str | Path, at: int) -> str:
    """Text of a part of the file that begins at byte `at`."""
    try:
        return content.decode("utf-8-sig" if at == 0 else "utf-8")
    except UnicodeDecodeError as error:
        wide = at == 0 and content.startswith((b"\xff\xfe", b"\xfe\xff"))
        what, name = ("UTF-16, not UTF-8", "UTF-16") if wide else (f"not UTF-8 (byte {at + error.start})", "LATIN1")
        raise InputError(
            f"{path}: {what}; save the file as UTF-8, such as with `iconv -f {name} -t UTF-8 {path} > FILE`."
        ) from None


def parse_json(text: str, where: object) -> Any:
    """JSON that somebody wrote. InputError, starting with `where`, for what is none, or nested or long beyond reading."""
    try:
        value = json.loads(text, parse_int=_whole)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text else ""
        cut = error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated")
        raise InputError(f"{where}: not valid JSON ({error.msg}{line}){'; is it cut short?' if cut else '.'}") from None
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:  # a whole number of too many digits
        raise InputError(f"{where}: not usable JSON ({first_line(error)}).") from None
    # What is counted bounds the depth from above: a look at every value is seldom needed.
    if text.count("[") + text.count("{") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise _too_deep(where)
    return value


def _whole(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits):,} digits")
    return int(digits)


def _too_deep(where: object) -> InputError:
    return InputError(f"{where}: not usable JSON (nested too deeply); each record must be one plain object.")


def _deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects stand more than `depth` deep; level by level, so that no depth is too much for this."""
    level = [value]
    for _ in range(depth + 1):
        level = [
            part
            for item in level
            for part in (item.values() if isinstance(item, dict) else item if isinstance(item, list) else ())
            if isinstance(part, dict | list)
        ]
        if not level:
            return False
    return True


def rows_of(path: str | Path, wanted: Iterable[str] | None = None) -> Iterator[tuple[int, str, Row]]:
    """(number, place, row) for each row of a file, whatever its format; numbers are lines, or rows from 1.

    wanted: the columns whose values are needed; of a table, others are None. InputError for what cannot be read.
    """
    for number, place, value in values_of(path, wanted):
        yield number, place, _as_object(place, value)


def values_of(path: str | Path, wanted: Iterable[str] | None = None) -> Iterator[tuple[int, str, Any]]:
    """`rows_of` for rows that may be anything that JSON can say, such as texts."""
    path = Path(path)
    with opened(path, MAX_LINES) as file:
        start = file.read(64)
    _check_packed(path, start)
    if start.startswith(PARQUET):
        yield from _parquet_rows(path, None if wanted is None else set(wanted))
    elif start.startswith(ARROW):
        from leakatk.files.arrow import arrow_rows

        yield from arrow_rows(path, read_bytes(path), None if wanted is None else set(wanted), 4 * MAX_WHOLE)
    elif path.suffix.lower() in (".csv", ".tsv"):
        yield from _csv_rows(path, None if wanted is None else set(wanted))
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"["):
        text = read_text(path)
        if _is_list(text.lstrip().partition("\n")[0]) and "\n" in text.strip():  # a list a line
            yield from _json_lines(path)
            return
        for number, row in enumerate(parse_json(text, path), start=1):
            yield number, f"{path}, line {number}", row
    else:
        yield from _json_lines(path)


def _is_list(line: str) -> bool:
    try:
        return isinstance(parse_json(line, ""), list)
    except InputError:
        return False


def _json_lines(path: Path) -> Iterator[tuple[int, str, Any]]:
    at, empty = 0, True
    with opened(path, MAX_LINES) as file:
        # Split on newlines alone: JSON strings may hold other separators such as U+2028.
        for number in range(1, MAX_ROWS + 1):
            raw = file.readline(MAX_LINE + 1)
            if not raw:
                break
            place = f"{path}, line {number}"
            if len(raw) > MAX_LINE or at + len(raw) > MAX_LINES:
                raise InputError(
                    f"{place} goes beyond {MAX_LINE >> 20} MB, the most that is read; is this the right file?"
                )
            line = _decoded(raw, path, at).removesuffix("\n")
            at += len(raw)
            if not line.strip():
                continue
            try:
                row = parse_json(line, place)
            except InputError as error:
                if empty and (whole := _whole_file(path)) is not None:
                    yield from whole
                    return
                if line.lstrip().startswith("{"):
                    raise
                table = " (a table must end in .csv or .tsv)" if "," in line or "\t" in line else ""
                raise InputError(
                    f"{place}: not valid JSON, found {line[:40]!r}; write one object a line, "
                    f'{{"question": ..., "answer": ...}}{table}.'
                ) from error
            empty = False
            yield number, place, row
        else:
            raise InputError(f"{path} holds more than {MAX_ROWS:,} lines, the most that is read; split it.")
    if empty:
        raise InputError(f"{path} is empty; it needs one JSON object a line.")


def _whole_file(path: Path) -> list[tuple[int, str, Any]] | None:
    """The rows of a file that is one list or one object over several lines; None when it is neither."""
    try:
        value = parse_json(read_text(path), path)
    except InputError:
        return None
    if isinstance(value, dict):
        return [(1, str(path), value)]
    if not isinstance(value, list):
        return None
    return [(number, f"{path}, row {number}", row) for number, row in enumerate(value, start=1)]


def _as_object(place: str, row: object) -> Row:
    if not isinstance(row, dict):
        raise InputError(
            f'{place}: expected a JSON object such as {{"question": ..., "answer": ...}}, found {row!r:.40}.'
        )
    return row


def _csv_rows(path: Path, wanted: set[str] | None) -> Iterator[tuple[int, str, Row]]:
    """Rows of a table with a header. A cell that holds a JSON list is one; an empty cell is an empty text."""
    text = read_text(path)
    if not text.strip():
        raise InputError(f"{path} is empty; its first line must name the columns, such as question,answer.")
    before = csv.field_size_limit(MAX_LINE)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path, text, wanted), strict=True)
        header = [name.strip() for name in next(reader)]
        if len(set(header)) < len(header) or "" in header:
            raise InputError(
                f"{path}: two columns share a name, or one has none: {', '.join(header)[:200]}; name each once."
            )
        line = reader.line_num + 1
        for cells in reader:
            place, here = f"{path}, line {line}", line
            line = reader.line_num + 1
            if not cells:
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{place}: {len(cells)} cells, but the first line names {len(header)} columns; "
                    "put text that holds the separator or a line break in double quotes."
                )
            yield here, place, {name: _cell(cell) for name, cell in zip(header, cells, strict=True)}
    except csv.Error as error:
        raise InputError(
            f"{path}, line {reader.line_num}: not a valid table ({first_line(error)}); save it as CSV again."
        ) from None
    finally:
        csv.field_size_limit(before)


def _delimiter(path: Path, text: str, wanted: set[str] | None) -> str:
    """Of the usual ones, that which makes most known names of the header; spreadsheets write semicolons in half of the world."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    header = text.lstrip("\n\r").splitlines()[0]
    known = {sign: len({name.strip(' "') for name in header.split(sign)} & (wanted or set())) for sign in ",;\t"}
    return max(",;\t", key=lambda sign: (known[sign], header.count(sign)))


def _cell(cell: str) -> Any:
    if cell.startswith("[") and cell.rstrip().endswith("]"):
        try:
            value = parse_json(cell, "")
        except InputError:
            return cell
        if isinstance(value, list):
            return value
    return cell


def _parquet_rows(path: Path, wanted: set[str] | None) -> Iterator[tuple[int, str, Row]]:
    """Rows of a Parquet file, a few at a time: a small file may unpack to more than any memory holds."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = read_bytes(path)
    number, held = 0, 0
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        if file.metadata.num_rows > MAX_ROWS:
            raise InputError(f"{path} holds more than {MAX_ROWS:,} rows, the most that is read; split it.")
        names = file.schema_arrow.names
        read = [name for name in names if wanted is None or name in wanted]
        others: Row = dict.fromkeys(name for name in names if name not in read)
        if not read:  # nothing of use: the names are what the error is about
            yield from ((1, f"{path}, row 1", others) for _ in range(min(1, file.metadata.num_rows)))
            return
        for batch in file.iter_batches(batch_size=64, columns=read, use_threads=False):
            held += batch.nbytes
            if held > 4 * MAX_WHOLE:
                raise _too_large(path, 4 * MAX_WHOLE)
            for row in batch.to_pylist():
                number += 1
                yield number, f"{path}, row {number}", {name: row.get(name) for name in names}
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, ArithmeticError, RuntimeError) as error:
        raise InputError(
            f"{path}: not a readable Parquet file ({first_line(error)}, row {number + 1}); save it again, or as JSON lines."
        ) from None


# What a file is that holds something else than questions and answers: its columns, and its name.
_OTHERS = (
    ({"eval", "samples"}, "a log of Inspect"),
    ({"version", "status", "eval"}, "a log of Inspect"),
    ({"custom_id", "response"}, "the output of an OpenAI batch"),
    ({"doc_id", "doc", "resps"}, "samples of lm-eval"),
)


def check_shape(row: Mapping[str, Any], place: str) -> None:
    """InputError for a row of what a model said, which is no prompt."""
    for columns, what in _OTHERS:
        if columns <= set(row):
            raise InputError(
                f"{place}: holds {what}: what a model said, which `leakatk score` reads. As prompts, give a file of questions "
                "and true answers."
            )


def read_records(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) for each row of a file: see `reading.rows_of`."""
    return ((number, row) for number, _, row in rows_of(path))
