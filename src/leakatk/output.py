"""Output, the one place through which everything printed goes: what a name or a model wrote never acts on the terminal.

The command line puts `Printed` around stdout and stderr before it does anything (`printed`), so tables, notes, progress, error
sentences, warnings of other libraries and log lines all pass through it. Our own styling passes beside it (`styled`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from leakatk.text import visible


class Printed:
    """A text stream on which control characters, escapes and bidirectional overrides become visible signs.

    A reader that went away (`leakatk ... | head`) is no error: what is still said is dropped, and the command goes on to its own
    exit code. What the stream's encoding cannot hold is written as an escape.
    """

    def __init__(self, stream: TextIO, *, trusted: bool = False) -> None:
        self.stream, self.trusted = stream, trusted

    @property
    def encoding(self) -> str:
        """What callers may write: everything. A trusted writer, rich, wants to know what can really be shown."""
        return self.stream.encoding if self.trusted else "utf-8"

    def write(self, text: str) -> int:
        shown = text if self.trusted else visible(text)
        try:
            try:
                self.stream.write(shown)
            except UnicodeEncodeError:
                encoding = self.stream.encoding or "ascii"
                self.stream.write(shown.encode(encoding, "backslashreplace").decode(encoding))
        except BrokenPipeError:
            self.drop()
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except BrokenPipeError:
            self.drop()

    def drop(self) -> None:
        """Send what is left, and what is still to come, nowhere: the interpreter flushes once more when it ends."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def styled(stream: TextIO) -> TextIO:
    """The stream for a writer that has made its text visible itself and adds styling of its own."""
    return Printed(stream.stream, trusted=True) if isinstance(stream, Printed) else stream  # type: ignore[return-value]


@contextmanager
def printed() -> Iterator[None]:
    """Everything that is written to sys.stdout and sys.stderr meanwhile goes through `Printed`."""
    before = sys.stdout, sys.stderr
    # A closed stream (`>&-`) is None.
    sys.stdout, sys.stderr = (Printed(stream) if stream is not None else stream for stream in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
