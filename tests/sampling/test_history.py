"""How old the samples of several runs are, and how many were asked for now."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from leakatk.sampling.history import History
from tests.tiny import PROMPTS


def kept(path: Path, created: str, written: str) -> Any:
    """A run of these days, as far as its history looks at it."""
    path.mkdir()
    (path / "generations.parquet").touch()
    last = datetime.fromisoformat(f"{written}T12:00:00+00:00").timestamp()
    os.utime(path / "generations.parquet", (last, last))
    return SimpleNamespace(
        path=path, prompts=PROMPTS, manifest=SimpleNamespace(created=f"{created}T12:00:00.000000+00:00")
    )


def test_the_oldest_and_the_newest_of_several_runs(tmp_path: Path) -> None:
    days = {"a": ("2020-01-02", "2020-01-05"), "b": ("2020-01-01", "2020-01-03"), "c": ("2020-01-03", "2020-01-04")}
    history = History()
    for name, (created, written) in days.items():
        history.add(kept(tmp_path / name, created, written), 2, 0)
    [said] = history.says()
    assert said.startswith(
        "All 18 samples are from disk, asked for between 2020-01-01 12:00 and 2020-01-05 12:00 UTC ("
    )
    assert said.endswith(" ago); 0 were asked for now.")


def test_one_minute_is_told_once_and_rounds_are_added(tmp_path: Path) -> None:
    history, run = History(), kept(tmp_path / "a", "2020-01-01", "2020-01-01")
    history.add(run, 2, 0)
    history.add(run, 4, 6)
    history.add(run, 6, 6)
    [said] = history.says()
    assert said.startswith("6 of 18 samples are from disk, asked for on 2020-01-01 12:00 UTC (")
    assert said.endswith(" ago); 12 were asked for now.")


def test_samples_of_this_session_are_not_old(tmp_path: Path) -> None:
    history = History()
    history.add(kept(tmp_path / "a", "2020-01-01", "2020-01-01"), 2, 6)
    assert history.says() == []
