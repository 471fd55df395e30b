"""Files are written whole or not at all, and what stands in the way is said."""

import os
from pathlib import Path

import pytest

from leakatk.errors import InputError, RunError
from leakatk.files.checksums import INDEX, names
from leakatk.files.writing import leftover, make_private, read_kept, write_atomic, write_kept
from leakatk.workdir import occupied


def test_what_a_killed_write_leaves_does_not_occupy_a_directory(tmp_path, monkeypatch):
    assert not occupied(tmp_path / "absent")

    def killed(*_):
        raise KeyboardInterrupt  # not an OSError: nothing tidies up, as after kill -9

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "run.json", "{}")
    assert list(tmp_path.iterdir())
    assert not occupied(tmp_path)
    (tmp_path / "notes.txt").touch()
    assert occupied(tmp_path)


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to(tmp_path / "real.txt")
    write_atomic(tmp_path / "link.txt", "new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(tmp_path / "pipe", "said")
    assert os.read(reader, 10) == b"said"
    os.close(reader)
    assert not (tmp_path / "pipe").is_file()


def test_a_write_whose_temporary_file_is_taken_for_a_leftover_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, taken = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if not taken:
            taken.append(self)
            self.unlink()
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    write_kept(tmp_path / "a.json", "1")
    assert (tmp_path / "a.json").read_text() == "1"
    assert taken


@pytest.mark.parametrize("content", ["", "é \u2028\n", b"\x00\xff", b"x" * 300_000])
@pytest.mark.parametrize("write", [write_atomic, write_kept])
def test_what_is_written_is_there_and_nothing_beside_it(tmp_path, write, content):
    path = tmp_path / "new" / "deep" / "a.bin"
    for data in ("what was there before", content):
        write(str(path), data)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    beside = {INDEX} if write is write_kept else set()
    assert {file.name for file in path.parent.iterdir()} == {"a.bin"} | beside


def test_only_a_directory_that_keeps_checksums_gets_more_of_them(tmp_path):
    write_atomic(tmp_path / "a.json", "1")
    assert not (tmp_path / INDEX).exists()
    write_kept(tmp_path / "b.json", "2")
    write_atomic(tmp_path / "c.json", "3")
    assert names(tmp_path) == {"a.json", "b.json", "c.json"}


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("write", [write_atomic, write_kept])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch, write, step):
    path = tmp_path / "a.json"
    write(path, "1")
    before = {file.name for file in tmp_path.iterdir()}

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    real = Path.open
    with monkeypatch.context() as patch:
        if step == "write":
            patch.setattr(Path, "open", lambda self, *a, **k: full() if self.suffix == ".tmp" else real(self, *a, **k))
        elif step == "fsync":
            patch.setattr("leakatk.files.writing.os.fsync", full)
        else:
            patch.setattr(Path, "replace", full)
        with pytest.raises(
            InputError, match=r"Cannot write .*a\.json: No space left on device; free some space"
        ) as said:
            write(path, "2")
    assert str(said.value).endswith("Nothing was overwritten.")
    assert path.read_text() == "1"
    assert {file.name for file in tmp_path.iterdir()} == before
    write(path, "3")
    assert path.read_text() == "3"


@pytest.mark.parametrize("write", [write_atomic, write_kept])
def test_a_file_where_a_directory_is_needed_and_the_other_way_round(tmp_path, write):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "place").mkdir()
    for path in (tmp_path / "place", tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        with pytest.raises(
            (InputError, RunError), match=r"a file stands where a directory is needed.*Nothing was overwr"
        ):
            write(path, "1")
    assert (tmp_path / "file").read_text() == "mine"
    assert not any(leftover(file.name) for file in tmp_path.rglob("*"))


def test_a_pipe_that_nobody_can_write_to_is_one_sentence(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")

    def broken(*_):
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(Path, "write_bytes", broken)
    with pytest.raises(InputError, match=r"Cannot write to .*pipe: Broken pipe; choose another place"):
        write_atomic(tmp_path / "pipe", "said")


def test_a_damaged_kept_file_says_what_helps(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"cut": ')  # no index: taken as it is, until it is parsed
    with pytest.raises(
        RunError, match=r"a\.json.*a file that leakatk keeps: restore it from a copy, or start again\.$"
    ):
        read_kept(path, remedy="start again")
    write_kept(path, "[1]")
    assert read_kept(path) == [1]
    path.write_text("[2]")
    with pytest.raises(RunError, match=r"does not fit its checksum.*or delete it and run the same command again"):
        read_kept(path)


def test_what_a_kill_leaves_is_told_from_files_of_ones_own(tmp_path, monkeypatch):
    left = []

    def killed(self, target):
        left.append(self.name)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "run.json", "{}")
    assert [leftover(name) for name in left] == [True]
    assert not any(map(leftover, ("run.json", "x.tmp", ".hidden", "tmp", "")))


def test_a_directory_that_cannot_be_made_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(RunError, match="a file stands where a directory is needed"):
            make_private(path)

    def denied(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(RunError, match=r"Cannot use .*new: Permission denied; choose a directory you can write"):
        make_private(tmp_path / "new")
