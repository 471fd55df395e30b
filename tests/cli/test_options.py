"""Options that several commands share, and --fresh: what OUT holds is moved aside whole, or stays where it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from leakatk.cli.options import move_aside
from leakatk.errors import InputError, RunError
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.workdir import claim
from tests.tiny import PROMPTS


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    manifest = Manifest.create(
        model={"fingerprint": "f"}, prompts=PROMPTS, decoding=Decoding().as_dict(), seed=0, n=1, engine="e"
    )
    Run.create_or_resume(tmp_path / "run", manifest, PROMPTS).close()
    return tmp_path / "run"


def beside(path: Path) -> list[Path]:
    return [other for other in path.parent.iterdir() if other.name.startswith(f"{path.name}-before-")]


def test_runs_of_the_same_second_do_not_take_each_others_place(begun: Path) -> None:
    text = (begun / "manifest.json").read_text()
    move_aside(begun)
    [first] = beside(begun)
    begun.mkdir()
    (begun / "manifest.json").write_text(text)
    (begun / "prompts.jsonl").write_bytes((first / "prompts.jsonl").read_bytes())
    move_aside(begun)
    assert {path.name for path in beside(begun)} == {first.name, f"{first.name}-1"}
    assert (first / "manifest.json").read_text() == text


def test_a_run_that_is_being_written_stays(begun: Path) -> None:
    with claim(begun), pytest.raises(RunError, match="is being written by"):
        move_aside(begun)
    assert beside(begun) == []


def test_where_nothing_is_nothing_moves(tmp_path: Path) -> None:
    move_aside(tmp_path / "none")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("mine")
    move_aside(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["none"]


def test_what_cannot_be_moved_is_said(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Path, target: Path) -> Path:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(InputError, match=r"--fresh cannot move .*: Operation not permitted; .* Nothing was changed"):
        move_aside(begun)


def test_quiet_is_quiet_for_everything_that_runs(leakatk, model, forget, tmp_path):
    from leakatk.progress import Progress

    common = ("audit", model, "--forget", forget, "--n", "2", "--max-new-tokens", "3", "--out", tmp_path / "run")
    code, _, err = leakatk(*common, "--quiet")
    assert code == 0
    assert err.startswith("Note: ")  # what a person must know is not progress
    assert err.count("\n") == 1
    assert Progress("judge", 3).quiet
    code, _, err = leakatk(*common)
    assert code == 0
    assert not Progress("judge", 3).quiet


def test_a_key_in_an_address_stays_out_of_results_and_reports(monkeypatch):
    from leakatk.cli import options

    words = [
        "leakatk",
        "audit",
        "m",
        "--url",
        "https://me:secret@host:8443/v1?key=secret",
        "--url=http://h/v1?k=secret",
        "x y",
    ]
    monkeypatch.setattr("sys.argv", words)
    assert options.command() == "leakatk audit m --url https://host:8443/v1 --url=http://h/v1 'x y'"
    monkeypatch.setattr("sys.argv", ["leakatk", "--url", "http://[secret"])
    assert "secret" not in options.command()
