"""One writer for a run directory. The lock belongs to the open file, so it ends with the process, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
from pathlib import Path
from typing import IO

from leakatk.errors import RunError

LOCK_NAME = "run.lock"


def acquire(directory: Path) -> IO[str]:
    """Lock the directory; close the returned file to unlock. RunError when another writer has it."""
    path = directory / LOCK_NAME
    try:
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"Cannot write in {directory}: {error.strerror or error}; choose a place you can write."
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise RunError(
            f"{directory} is being written by {holder}; wait for it to end, stop it, or choose another directory."
        ) from None
    except OSError as error:
        file.close()
        raise RunError(
            f"Cannot lock {path}: {error.strerror or error}; put the run on a file system that has locks (a local disk)."
        ) from error
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
    except OSError as error:
        with contextlib.suppress(
            OSError
        ):  # what its buffer holds does not fit the full disk; it is closed all the same
            file.close()
        raise RunError(f"Cannot write {path}: {error.strerror or error}; free some space. Nothing was lost.") from error
    return file
