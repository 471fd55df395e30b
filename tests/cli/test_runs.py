"""`leakatk runs list` and `leakatk runs remove`, and the notes of what others could read."""

import json
import shutil
import subprocess

import pytest

from leakatk.errors import InputError
from tests.runs.test_directories import drawn


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    drawn(tmp_path / "runs" / "whole")
    drawn(tmp_path / "runs" / "half", 4, 1)
    return tmp_path


def answers(monkeypatch, text):
    """A person at the terminal who says this."""
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda question, err: said.append(question) or text == "y")
    said = []
    return said


def test_the_list(leakatk, here):
    code, out, err = leakatk("runs", "list")
    lines = out.splitlines()
    assert code == 0, err
    assert lines[0].split("  ")[0] == "directory"
    assert lines[1].startswith("runs/half")
    assert lines[1].endswith("not finished (2 of 8 samples)")
    assert "models/mine" in lines[2]
    assert lines[2].endswith("  finished")
    assert lines[3].startswith("2 run directories, 1 of them not finished, ")
    code, out, _ = leakatk("runs", "list", "runs", "--json")
    assert [(row["path"], row["finished"]) for row in json.loads(out)] == [("runs/half", False), ("runs/whole", True)]
    code, out, _ = leakatk("runs", "list", here / "runs" / "whole" / "generations")
    assert (code, out.startswith("No run directory")) == (0, True)


def test_a_removal_asks(leakatk, here, monkeypatch):
    asked = answers(monkeypatch, "n")
    code, _, err = leakatk("runs", "remove", "runs/whole")
    assert (code, "Nothing was removed." in err) == (0, True)
    assert asked[0].startswith("Remove 1 run directory, ")
    assert (here / "runs" / "whole").is_dir()
    answers(monkeypatch, "y")
    code, out, err = leakatk("runs", "remove", "runs/whole")
    assert (code, out) == (0, "Removed: runs/whole.\n"), err
    assert "runs/whole  samples" in err
    assert not (here / "runs" / "whole").exists()
    assert (here / "runs" / "half").is_dir()


def test_nobody_there_to_ask(leakatk, here):
    code, _, err = leakatk("runs", "remove", "runs/whole")
    assert (code, "add --yes" in err) == (2, True)
    code, out, err = leakatk("runs", "remove", "runs/whole", "runs/half", "--yes", "--json")
    assert (code, [row["path"] for row in json.loads(out)]) == (0, ["runs/whole", "runs/half"]), err
    assert list((here / "runs").iterdir()) == []


@pytest.mark.parametrize("words", [("runs/whole", "runs"), ("runs/whole", "runs/whole"), ("runs/whole", "nowhere")])
def test_one_that_may_not_be_removed_keeps_all(leakatk, here, words):
    code, _, err = leakatk("runs", "remove", *words, "--yes")
    assert (code, err.count("\n")) == (2, 1), err
    assert (here / "runs" / "whole").is_dir()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_is_named_by_the_list_and_by_a_command_that_writes(leakatk, here, monkeypatch):
    subprocess.run(["git", "init", "--quiet", str(here)], check=True)
    _, _, err = leakatk("runs", "list")
    assert f"Note: runs/half and 1 more lie in the git work tree {here}" in err

    def stops(*_, **__):
        raise InputError("Stopped here.")

    monkeypatch.setattr("leakatk.small.demo.demo", stops)
    code, _, err = leakatk("demo", "--out", "runs/new")
    assert code == 2
    assert f"Note: runs/new lies in the git work tree {here}, which does not ignore it" in err
    (here / ".gitignore").write_text("/runs/\n")
    _, _, err = leakatk("demo", "--out", "runs/newer")
    assert err == "leakatk: Stopped here.\n"
