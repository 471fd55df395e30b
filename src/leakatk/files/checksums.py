"""Checksums of whole files, in an index beside them: a flipped bit is an error and never another number.

The index of a directory is `run.checksums`, one line a version of a file: SHA-256, size, name, and the CRC-32 of the line
itself. A line is appended, and on the disk, before its file is renamed into place. Killed in between, the index knows
the new version and the one before, and either is accepted; a file that no line knows is not. A line is never removed
or changed, so several processes may append. A directory without an index was written by an older version: its files
are read as they are, and `note` says so; the first file that is added writes the index, with what is there as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any
from zlib import crc32

from leakatk.errors import RunError

INDEX = "run.checksums"
_MODEL = (".safetensors", ".json", ".jinja", ".model", ".txt")  # what save_pretrained writes
_HEADER = b"# SHA-256, size and name of the files beside this one as leakatk wrote them; config.toml may be edited."
_EDITED = {"config.toml"}  # a person may edit it: its checksum is never asked for

# Files found right by this process, as they were then: a run is read several times.
_right: dict[str, tuple[int, ...]] = {}


_MARK = b',"crc32":"'


def sealed(body: bytes) -> bytes:
    """A JSON object of one line with the CRC-32 of all before it as its last field, for files that grow by lines."""
    body = body[:-1]
    return b'%b%b%08x"}' % (body, _MARK, crc32(body))


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The object of a sealed line, without the seal; None when it is damaged, cut short or was never sealed."""
    body, mark, tail = line.rpartition(_MARK)
    if not mark or tail != b'%08x"}' % crc32(body):
        return None
    row: dict[str, Any] = json.loads(body + b"}")
    return row


def add(path: Path, content: bytes) -> None:
    """Make `content` known as a version of `path`; call it before the file is renamed into place. OSError if it cannot."""
    _append(path, hashlib.sha256(content).hexdigest(), len(content))


def add_file(path: Path, written: Path) -> None:
    """`add`, for a file of any size that lies at `written` and will be moved to `path`."""
    _append(path, *digest_of(written))


def begin(directory: Path) -> None:
    """Write the index of a directory that was filled under another name; OSError if it cannot be."""
    _create(directory / INDEX)


def indexed(directory: Path) -> bool:
    return (directory / INDEX).exists()


def note(directory: Path) -> str:
    """A sentence a person should see where the directory has no index, else ""."""
    if indexed(directory):
        return ""
    return f"{directory} has no {INDEX} (an older version wrote it): damage to its files may go unnoticed."


def names(directory: Path) -> set[str]:
    """The files that the index knows; empty without one."""
    return set(_read(directory)[0])


def lost(model: Path) -> list[str]:
    """A model's files that the index knows and that are not there any more, such as damaged ones that were deleted."""
    return [name for name in _of_a_model(model) if not (model / name).exists()]


def verify_model(model: Path, remedy: str) -> None:
    """`verify` every file of a model directory that the index knows: weights, configs, tokenizer."""
    for name in _of_a_model(model):
        verify(model / name, remedy)


def _of_a_model(directory: Path) -> list[str]:
    return sorted(name for name in names(directory) if name.endswith(_MODEL))


def verify(path: Path, remedy: str = "delete it and run the same command again") -> None:
    """RunError, in one sentence, when a file is not as it was written. Without an index every file is taken as it is.

    remedy: what else helps than a copy, "" for nothing. A file that is not there is left to who reads it.
    """
    path = path.resolve() if path.is_symlink() else path
    if not indexed(path.parent):
        return
    try:
        now = _state(path)
        if _right.get(str(path)) == now:
            return
        found = digest_of(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise RunError(
            f"Cannot read {path}: {error.strerror or error}; check its owner, mode and disk. Nothing was lost."
        ) from error
    # The index is read after the file: a writer at work has told it of every version that can be there.
    known, damaged = _read(path.parent)
    if found in known.get(path.name, ()):
        _right[str(path)] = now
        return
    otherwise = f", or {remedy}" if remedy else ""
    if damaged:
        raise RunError(
            f"{path.parent / INDEX} is damaged ({damaged} line(s)), so {path.name} cannot be checked: restore the index from a "
            "copy, or delete it to have the files taken as they are."
        )
    if path.name not in known:
        raise RunError(
            f"{path} is not in {INDEX} beside it, so leakatk did not write it here: restore both from a copy{otherwise}."
        )
    raise RunError(
        f"{path} is damaged: its content does not fit its checksum in {INDEX}; restore it from a copy{otherwise}."
    )


def _state(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 and size."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return digest, file.tell()


def _line(name: str, digest: str, size: int) -> bytes:
    """It begins with its newline: what a killed process left half-written ends there."""
    body = f"{digest} {size} {json.dumps(name)}".encode()
    return b"\n%b %08x" % (body, crc32(body))


def _append(path: Path, digest: str, size: int) -> None:
    index = path.parent / INDEX
    if not index.exists():
        _create(index)
    descriptor = os.open(index, os.O_WRONLY | os.O_APPEND | getattr(os, "O_BINARY", 0))
    try:
        line = _line(path.name, digest, size)
        written = os.write(descriptor, line)
        if written < len(line):  # the disk is full: what was written stays as a line that counts for nothing
            raise OSError(28, os.strerror(28), str(index))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _create(index: Path) -> None:
    """An index of the files that are there already, whole or not at all; the first of two processes wins."""
    there = [file for file in sorted(index.parent.iterdir()) if file.is_file() and _covered(file.name)]
    temporary = index.with_name(f".{index.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(_HEADER + b"".join(_line(one.name, *digest_of(one)) for one in there))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, index)
        except FileExistsError:
            pass
        except (OSError, AttributeError, NotImplementedError):  # a file system without links
            if not index.exists():
                temporary.replace(index)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _covered(name: str) -> bool:
    return not name.startswith(".") and name not in _EDITED and name not in (INDEX, "run.lock", "run.holder")


def _read(directory: Path) -> tuple[dict[str, set[tuple[str, int]]], int]:
    """Name -> its known versions, and the number of lines that are damaged or were cut short."""
    known: dict[str, set[tuple[str, int]]] = {}
    damaged = 0
    try:
        content = (directory / INDEX).read_bytes()
    except FileNotFoundError:
        return known, 0
    except OSError as error:
        raise RunError(
            f"Cannot read {directory / INDEX}: {error.strerror or error}; check its owner, mode and disk. Nothing was lost."
        ) from error
    for line in content.split(b"\n"):
        body, _, check = line.rpartition(b" ")
        if check == b"%08x" % crc32(body):
            digest, size, name = body.decode().split(" ", 2)
            known.setdefault(json.loads(name), set()).add((digest, int(size)))
        elif line not in (b"", _HEADER):
            damaged += 1
    return known, damaged
