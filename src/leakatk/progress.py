"""Progress for people: a live bar in a terminal, plain lines every few seconds elsewhere, nothing when quiet."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from leakatk.output import styled
from leakatk.text import visible


def format_seconds(seconds: float) -> str:
    """12s, 3m05s, 2h10m."""
    s = round(seconds)
    if s < 60:
        return f"{s}s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    return f"{s // 3600}h{s % 3600 // 60:02d}m"


def format_bytes(count: float) -> str:
    """4.2 GB, 310 MB, 12 kB."""
    if count >= 1e9:
        return f"{count / 1e9:,.1f} GB"
    return f"{count / 1e6:,.0f} MB" if count >= 1e6 else f"{count / 1e3:,.0f} kB"


silent = False  # set by --quiet: nothing that runs in this process reports, scorers included


class Progress:
    """Counts units of work of one phase; writes to stderr. Use as a context manager, call `advance`."""

    def __init__(self, label: str, total: int, *, unit: str = "", quiet: bool = False, done: int = 0) -> None:
        self.label, self.total, self.unit, self.quiet = label, total, unit, quiet or silent
        self.done = self._start_done = done
        self._start = self._shown = time.monotonic()
        self._live = sys.stderr.isatty()
        self._note = ""
        self._stopped = False

    def __enter__(self) -> Progress:
        return self

    def stop(self) -> None:
        """Whoever counts here next, in whatever thread, is interrupted."""
        self._stopped = True

    def advance(self, units: int = 1, note: str = "") -> None:
        if self._stopped:
            raise KeyboardInterrupt
        self.done += units
        self._note = note or self._note
        if not self.quiet and time.monotonic() - self._shown > (0.1 if self._live else 10):
            self._show()

    def _show(self, *, last: bool = False) -> None:
        now = time.monotonic()
        self._shown = now
        spent = now - self._start
        rate = (self.done - self._start_done) / spent if spent > 0 else 0.0
        parts = [f"{self.label}: {self.done:,}/{self.total:,} {self.unit}".rstrip()]
        if rate > 0:
            parts.append(f"{rate:,.1f}/s" if rate >= 0.5 else f"{format_seconds(1 / rate)} each")
        if last:
            parts.append(format_seconds(spent))
        elif rate > 0:
            parts.append(f"{format_seconds((self.total - self.done) / rate)} left")
        if self._note:
            parts.append(self._note)
        line = visible("  ".join(parts), lines=False)
        out = styled(sys.stderr)
        out.write(f"\r\x1b[2K{line}" + ("\n" if last else "") if self._live else line + "\n")
        out.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if not self.quiet:
            self._show(last=True)
