"""Errors on the command line: one sentence, an exit code, and for a crash a file with the traceback."""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime

from leakatk.errors import BAD_INPUT, CRASHED, LeakAtKError, first_line
from leakatk.text import visible

DEBUG = "LEAKATK_DEBUG"  # set: the traceback is printed, of bad input too

# What the machine refuses, not what this library got wrong; and what to do.
_FULL = "free some space or choose another place"
_MACHINE = {
    errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _FULL, errno.EACCES: _FULL, errno.EROFS: _FULL, errno.EPERM: _FULL,
    errno.EMFILE: "raise the limit of open files, such as with `ulimit -n 1024`",
    errno.ENFILE: "close other programs",
    errno.ELOOP: "give a path whose links lead to a file",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOTDIR: "choose another place",
    errno.EISDIR: "choose another place",
    errno.EIO: "check the disk",
    errno.ENOMEM: "ask for less at once",
}  # fmt: skip
# The same, where other libraries tell it in an error of their own.
_SAID = {os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)}


def report(error: BaseException) -> tuple[str, int]:
    """(sentence, exit code) for what ended a command: bad input and a machine that is too small are 2, a crash is 3."""
    if os.environ.get(DEBUG):
        with suppress(Exception):
            sys.stderr.write(visible("".join(traceback.format_exception(error))))
    if isinstance(error, LeakAtKError):
        return str(error), BAD_INPUT
    if (said := machine(error)) is not None:
        return said, BAD_INPUT
    where = f"written to {path}" if (path := write_traceback(error)) else "not written: no place was found for it"
    return (
        f"Crashed ({type(error).__name__}: {first_line(error)}): this is a fault of leakatk or of a library, and no verdict. "
        f"The traceback was {where}; {DEBUG}=1 prints it. Please report it. What was finished is kept.",
        CRASHED,
    )


def machine(error: BaseException) -> str | None:
    """The sentence for a limit of the machine, wherever in the chain of errors it stands; None for anything else."""
    for one in _chain(error):
        if isinstance(one, MemoryError) or type(one).__name__ == "OutOfMemoryError":
            return (
                f"Not enough memory ({first_line(one)}): ask for fewer or shorter answers (--n, --max-new-tokens), then run the "
                "same command again. What was finished is kept."
            )
        if isinstance(one, ModuleNotFoundError) and one.name and not one.name.startswith("leakatk"):
            return f"The package {one.name.partition('.')[0]} is not installed; `leakatk doctor` says what is missing."
        number = one.errno if isinstance(one, OSError) else None
        number = number or next((code for text, code in _SAID.items() if text in str(one)), None)
        if number in _MACHINE:
            place = f" ({one.filename})" if isinstance(one, OSError) and one.filename else ""
            return f"{os.strerror(number)}{place}: {_MACHINE[number]}, then run the same command again."
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from; a handful is enough."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def write_traceback(error: BaseException) -> str:
    """Write the traceback to a new file that only this user can read; returns its path, "" where there is no place."""
    text = "".join(traceback.format_exception(error))
    about = f"{shlex.join(['leakatk', *sys.argv[1:]])}\nPython {platform.python_version()}, {platform.platform()}\n\n"
    try:
        # mkstemp: mode 0600, and never a file or link that somebody else put there.
        handle, path = tempfile.mkstemp(prefix=f"leakatk-crash-{datetime.now():%Y%m%d-%H%M%S}-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace") as file:
            file.write(visible(about + text))
    except OSError:
        return ""
    return path


def say(message: str) -> None:
    """Say the sentence on stderr, whatever has become of the streams."""
    with suppress(Exception):
        sys.stdout.flush()
    with suppress(Exception):
        # A name may hold line breaks: no second line of it starts like one of ours.
        sys.stderr.write("leakatk: " + visible(message).replace("\n", "\n  ") + "\n")
        sys.stderr.flush()


def ended(error: BaseException) -> int:
    """Say what ended the command; returns the exit code."""
    message, code = report(error)
    say(message)
    return code
