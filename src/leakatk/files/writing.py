"""Writing of whole files or nothing, and of files that are read back with their checksum."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, RunError
from leakatk.files import checksums
from leakatk.files.reading import parse_json, read_text


def read_kept(path: Path, remedy: str = "delete it and run the same command again") -> Any:
    """A JSON file that this library keeps for itself. RunError when it is damaged; remedy: what helps besides a copy."""
    checksums.verify(path, remedy)
    try:
        return parse_json(read_text(path), path)
    except InputError as error:
        raise RunError(f"{error} It is a file that leakatk keeps: restore it from a copy, or {remedy}.") from None


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write a whole file or nothing: a temporary file beside it, flushed to disk, then renamed over it.

    A link stays a link; into what is no file, such as a pipe, it is written as it comes. InputError names the file when the
    disk is full or the place cannot be written; what was there before stays. Where the directory keeps checksums
    (`leakatk.files.checksums`), that of the file joins them.
    """
    _write(Path(path), content, kept=False)


def write_kept(path: str | Path, content: str | bytes) -> None:
    """`write_atomic` for a file that is read back (`read_kept`): its directory keeps checksums from now on.

    A directory that is made for it is readable by its owner alone.
    """
    _write(Path(path), content, kept=True)


def _write(path: Path, content: str | bytes, *, kept: bool) -> None:
    data = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file() and not path.is_dir():
        try:
            path.write_bytes(data)
        except OSError as error:
            raise InputError(f"Cannot write to {path}: {error.strerror or error}; choose another place.") from error
        return
    path = path.resolve() if path.is_symlink() else path
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if kept:
            make_private(path.parent)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
        _flushed(temporary, data)
        if kept or checksums.indexed(path.parent):
            checksums.add(path, data)  # known before it is there: a kill in between leaves the version before
        try:
            temporary.replace(path)
        except FileNotFoundError:  # another machine's writer, which cannot see this process, took it for a leftover
            _flushed(temporary, data)
            temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
            raise InputError(
                f"Cannot write {path}: a file stands where a directory is needed, or the other way round; choose another "
                "place. Nothing was overwritten."
            ) from error
        raise InputError(
            f"Cannot write {path}: {error.strerror or error}; free some space or choose another place. Nothing was overwritten."
        ) from error


def _flushed(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def leftover(name: str) -> bool:
    """Whether a file of this name is what a `write_atomic` killed half-way leaves: part of no result."""
    return name.startswith(".") and name.endswith(".tmp")


def make_private(directory: Path) -> None:
    """Create the directory, readable by its owner alone: it holds what was to be forgotten. One that is there stays.

    RunError where it cannot be made.
    """
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(
            f"Cannot use {directory}: a file stands where a directory is needed; choose another place. Nothing was overwritten."
        ) from error
    except OSError as error:
        raise RunError(
            f"Cannot use {directory}: {error.strerror or error}; choose a directory you can write. Nothing was changed."
        ) from error
