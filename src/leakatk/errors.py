"""Errors that the library raises on purpose.

    LeakAtKError                  the root: catch this one
    ├── InputError                a file, a value or a combination the user gave cannot be used
    │   └── UnknownNameError      a method, scorer, benchmark ... that does not exist (with the nearest names)
    ├── RunError                  a run directory is interrupted, foreign, locked or damaged
    ├── ModelError                a model directory cannot be loaded or used
    ├── EngineError               a sampling engine does not start, or stopped for good
    └── UtilityFloorError         unlearning was stopped because it destroyed the model

Every message says what happened, the value seen, and what to do. The command line prints the message alone
and exits with code 2.

Exit codes of every command, below and in words in `EXIT_CODES`: a crash is never a verdict, and neither is bad input.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

DONE = 0  # done; a gate, if there was one, passed
FAILED = 1  # a gate failed
BAD_INPUT = 2  # what was given cannot be used
CRASHED = 3  # a fault of this library, or of one it uses
CANNOT_SAY = 4  # a gate could neither pass nor fail: too much is unknown
INTERRUPTED = 130
EXIT_CODES = {
    DONE: "done, or the gate passed",
    FAILED: "the gate failed",
    BAD_INPUT: "bad input",
    CRASHED: "a crash",
    CANNOT_SAY: "the gate cannot say",
    INTERRUPTED: "interrupted",
}


class LeakAtKError(Exception):
    """Root of every error raised on purpose.

    >>> from leakatk import leak_at_k
    >>> try:
    ...     leak_at_k([[0, 1]], 3)
    ... except LeakAtKError as error:
    ...     print(type(error).__name__)
    InputError
    """


class InputError(LeakAtKError, ValueError):
    """What the user gave cannot be used: a file, a value or a combination."""


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """At most three of the known names that look like this one, or begin with it: a family, such as tofu."""
    names, asked = sorted(known), name.lower()
    near = get_close_matches(asked, names, n=3, cutoff=0.5)
    return near or [one for one in names if asked and one.startswith(asked)][:3]


class UnknownNameError(InputError):
    """A name that is in no registry; the message lists the nearest names."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = nearest(name, names)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}."
        super().__init__(f"Unknown {kind} {name!r}: {hint}")


class RunError(LeakAtKError):
    """A run directory cannot be used as asked."""


class ModelError(LeakAtKError):
    """A model directory cannot be loaded or used."""


class EngineError(LeakAtKError):
    """A sampling engine does not start, or stopped for good."""


class UtilityFloorError(LeakAtKError):
    """Unlearning was stopped because retain utility fell below the floor."""


def first_line(error: BaseException) -> str:
    """The first line of what another library said, without its full stop, to stand in a sentence; its type if empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300].rstrip(".")
