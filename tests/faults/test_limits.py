"""A disk that fills and files that cannot be opened end in one sentence, and the same command then ends as it should."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from leakatk.bench import cells
from leakatk.errors import LeakAtKError, RunError
from leakatk.files.writing import write_kept

# The limit on file size stands in for the disk: writes stop half-way, as they do when it fills. NOFILE: beside those open.
WANTED = {
    "audit": [("FSIZE", 1000), ("NOFILE", 0), ("NOFILE", 8)],
    "bench": [("FSIZE", 8000), ("NOFILE", 8)],
    "unlearning, finished": [("FSIZE", 600), ("FSIZE", 30_000), ("NOFILE", 0), ("NOFILE", 8)],
}


def test_a_disk_that_fills_and_few_open_files_lose_nothing(tmp_path: Path) -> None:
    """In one process of its own: it takes seconds to start."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.faults.limits", str(tmp_path), json.dumps(WANTED)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True,
    )  # fmt: skip
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert len(found) == sum(map(len, WANTED.values()))
    for row in found:
        assert row["right"], row  # the same command, without the limit, ends as if there had been none
        assert row["end"] == ("done" if row["limit"] == "NOFILE 8" else "said"), row
        assert "NOFILE" in row["limit"] or "free some space" in row["said"], row


def test_a_copy_that_fails_half_way_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    write_kept(tmp_path / "run" / "manifest.json", "{}")

    def full(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        raise shutil.Error([(str(source), str(target), "[Errno 28] No space left on device")])

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copytree", full)
        with pytest.raises(RunError, match=r"Cannot copy .*No space left on device.*run the same command again"):
            cells.copy_run(tmp_path / "run", tmp_path / "copy")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]
    cells.copy_run(tmp_path / "run", tmp_path / "copy")
    assert (tmp_path / "copy" / "manifest.json").read_text() == "{}"


def test_an_index_that_does_not_fit_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    path = tmp_path / "a.json"
    write_kept(path, "1")
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: real(fd, data[:20]))
        with pytest.raises(LeakAtKError, match=r"Cannot write .*a\.json: No space left on device"):
            write_kept(path, "2")
    assert path.read_text() == "1"
    write_kept(path, "3")
    assert path.read_text() == "3"
