"""Age of samples, those asked for now and those from disk: a finished run answers from disk, and must say so."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leakatk.runs.store import Run


@dataclass
class History:
    """Samples by run directory: wanted in all, and asked for in this session. The rest was there before."""

    wanted: dict[Path, int] = field(default_factory=dict)
    asked: dict[Path, int] = field(default_factory=dict)
    since: datetime | None = None  # when the oldest of the others were asked for
    until: datetime | None = None

    def add(self, run: Run, n: int, lacking: int) -> None:
        """n samples a prompt are wanted of the run, and so many in all are not there yet."""
        first = run.path not in self.wanted
        self.wanted[run.path] = max(self.wanted.get(run.path, 0), n * len(run.prompts))
        self.asked[run.path] = self.asked.get(run.path, 0) + lacking
        if not first or lacking == self.wanted[run.path]:
            return
        begun = datetime.fromisoformat(run.manifest.created)
        files = (run.path / "generations.parquet", *(run.path / "generations").glob("*.jsonl"))
        written = [file.stat().st_mtime for file in files if file.exists()]
        last = datetime.fromtimestamp(max(written, default=begun.timestamp()), UTC)
        self.since = min(filter(None, (self.since, begun)))
        self.until = max(filter(None, (self.until, last)))

    def says(self) -> list[str]:
        """600 of 723 samples are from disk, asked for between ... and ... UTC (6 days ago); 123 were asked for now."""
        if self.since is None or self.until is None:
            return []
        total, now = sum(self.wanted.values()), sum(self.asked.values())
        first, last = (f"{when.astimezone(UTC):%Y-%m-%d %H:%M}" for when in (self.since, self.until))
        when = f"on {first}" if first == last else f"between {first} and {last}"
        share = f"{total - now:,} of {total:,}" if now else f"All {total:,}"
        return [
            f"{share} samples are from disk, asked for {when} UTC ({_age(datetime.now(UTC) - self.since)} ago); "
            f"{now:,} were asked for now."
        ]


def _age(span: timedelta) -> str:
    seconds = max(0.0, span.total_seconds())
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if (count := int(seconds // size)) >= 1:
            return f"{count} {unit}{'s' * (count > 1)}"
    return "less than a minute"
