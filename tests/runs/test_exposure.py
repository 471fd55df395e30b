"""Who could read a run directory besides its owner: by its mode, or by a git work tree that does not ignore it."""

import os
import shutil
import subprocess

import pytest

from leakatk.runs.exposure import exposed, ignored, work_tree

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def tree(tmp_path):
    subprocess.run(["git", "init", "--quiet", str(tmp_path / "tree")], check=True)
    return tmp_path / "tree"


def private(place):
    place.mkdir(parents=True, mode=0o700)
    return place


def test_outside_of_git_there_is_nothing_to_say(tmp_path):
    if work_tree(tmp_path) is not None:
        pytest.skip("the temporary place is itself under git")
    assert exposed([private(tmp_path / "run")]) == []


@needs_git
def test_a_run_that_git_would_commit(tree):
    [said] = exposed([private(tree / "runs" / "a")])
    assert said.startswith(f"{tree / 'runs' / 'a'} lies in the git work tree {tree}, which does not ignore it")
    assert ".gitignore" in said


@needs_git
@pytest.mark.parametrize("pattern", ["/runs/", "runs", "a/", "runs/a/"])
@pytest.mark.parametrize("there", [True, False])
def test_one_that_git_ignores(tree, pattern, there):
    """A pattern of folders too, whether the directory is there yet or not."""
    (tree / ".gitignore").write_text(f"{pattern}\n")
    place = tree / "runs" / "a"
    if there:
        private(place)
    assert ignored(place) is True
    assert exposed([place]) == []
    assert ignored(tree / "elsewhere") is False


@needs_git
def test_several_in_one_tree_are_one_sentence(tree):
    [said] = exposed([private(tree / name) for name in "abc"])
    assert said.startswith(f"{tree / 'a'} and 2 more lie in")


@pytest.mark.parametrize("trouble", ["absent", "refuses"])
def test_git_that_cannot_be_asked(tmp_path, monkeypatch, trouble):
    """Never silent: a work tree that git says nothing of is named."""
    (tmp_path / ".git").mkdir()
    if trouble == "absent":
        monkeypatch.setenv("PATH", str(tmp_path))
    [said] = exposed([private(tmp_path / "a")])
    assert "git could not be asked" in said


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_a_directory_that_others_may_read(tmp_path, monkeypatch):
    monkeypatch.setattr("leakatk.runs.exposure.work_tree", lambda place: None)
    closed, opened = private(tmp_path / "closed"), private(tmp_path / "open")
    opened.chmod(0o750)
    assert exposed([closed]) == []
    [said] = exposed([closed, opened])
    assert f"may read {opened}: chmod 700" in said
