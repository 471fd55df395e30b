"""The index of checksums: what it notices, what a kill at any moment leaves, and what it says."""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from types import FrameType

import pytest

from leakatk.errors import RunError
from leakatk.files import checksums
from leakatk.files.checksums import INDEX, verify
from leakatk.files.writing import read_kept, write_atomic, write_kept

# Files of several formats: what they hold does not matter to the index.
FORMATS = {
    "text.json": b'{"leak": 0.125, "k": [1, 2]}\n',
    "binary.safetensors": bytes(range(256)) * 20,
    "empty.json": b"",
    "table.parquet": b"PAR1" + b"\x00" * 100 + b"PAR1",
    'odd "name"\n\u2028.json': b"[]",
}


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def unknown(path: Path) -> None:
    """As a file that this process has not yet found right: another time of change, the same content."""
    before = path.stat().st_mtime_ns
    os.utime(path, ns=(before, before - 10**9))


def sentence(path: Path) -> str:
    """What is said of the file, "" when it passes."""
    try:
        verify(path)
    except RunError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", FORMATS)
def test_every_flipped_bit_cut_and_addition_is_noticed(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, FORMATS[name]
    write_kept(path, content)
    verify(path)
    bits = random.Random(name).sample(range(8 * len(content)), min(40, 8 * len(content)))
    for bit in bits:
        flip(path, bit)
        with pytest.raises(
            RunError, match=r"is damaged: its content does not fit its checksum in run\.checksums; restore"
        ):
            verify(path)
        flip(path, bit)
        verify(path)
    for other in (content + b"\0", content[:-1] if content else b"x"):
        path.write_bytes(other)
        with pytest.raises(RunError, match="is damaged"):
            verify(path)
    path.unlink()
    verify(path)  # who reads it says that it is not there


def test_every_bit_of_the_index_may_flip_and_no_wrong_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_kept(path, "1")
    index = tmp_path / INDEX
    whole = index.read_bytes()
    start = whole.index(b"\n")  # the first line is for people
    refused = 0
    for bit in range(8 * start, 8 * len(whole)):
        flip(index, bit)
        unknown(path)
        said = sentence(path)
        refused += bool(said)
        assert not said or said.startswith(f"{index} is damaged")
        path.write_text("2")
        with pytest.raises(RunError):
            verify(path)
        path.write_text("1")
        index.write_bytes(whole)
    assert refused >= 8 * (len(whole) - start) - 16  # all, but for the newline's bits that leave the line as it is


def test_an_older_directory_opens_with_a_note_and_its_files_are_covered_from_the_first_new_one_on(
    tmp_path: Path,
) -> None:
    write_atomic(tmp_path / "old.json", "1")
    (tmp_path / "config.toml").write_text("n = 1")
    assert not (tmp_path / INDEX).exists()
    assert "has no run.checksums" in checksums.note(tmp_path)
    assert read_kept(tmp_path / "old.json") == 1
    write_kept(tmp_path / "new.json", "2")
    assert checksums.note(tmp_path) == ""
    (tmp_path / "config.toml").write_text("n = 2")  # edited by a person
    assert checksums.names(tmp_path) == {"old.json", "new.json"}
    for name in ("old.json", "new.json"):
        flip(tmp_path / name, 0)
        with pytest.raises(RunError, match="is damaged"):
            read_kept(tmp_path / name)
    write_atomic(tmp_path / "third.json", "3")  # any whole file joins an index that is there
    assert read_kept(tmp_path / "third.json") == 3


def test_a_file_from_elsewhere_is_refused(tmp_path: Path) -> None:
    write_kept(tmp_path / "a.json", "1")
    (tmp_path / "b.json").write_text("2")
    with pytest.raises(RunError, match=r"b\.json is not in run\.checksums beside it, .*restore both from a copy"):
        read_kept(tmp_path / "b.json")


def test_killed_at_any_moment_of_a_write_the_file_is_whole_and_passes(tmp_path: Path) -> None:
    """At every third line of the library what lies on the disk is kept: what a kill then would leave."""
    live, ran = tmp_path / "live", 0
    live.mkdir()

    def on_line(frame: FrameType, event: str, _: object) -> object:
        nonlocal ran
        if "leakatk" not in frame.f_code.co_filename:
            return None
        if event == "line":
            ran += 1
            if ran % 3 == 0:
                sys.settrace(None)
                shutil.copytree(live, tmp_path / f"at-{ran}")
                sys.settrace(on_line)  # type: ignore[arg-type]
        return on_line

    before = sys.gettrace()
    sys.settrace(on_line)  # type: ignore[arg-type]
    try:
        for version in range(4):
            write_kept(live / "a.json", str(version))
    finally:
        sys.settrace(before)
    seen = set()
    states = list(tmp_path.glob("at-*"))
    assert len(states) == ran // 3 > 20
    for state in states:
        path = state / "a.json"
        if path.exists():
            seen.add(read_kept(path))
        write_kept(path, "9")  # and a later process goes on
        assert read_kept(path) == 9
    assert seen >= {0, 1, 2}


def test_a_half_written_line_of_the_index_does_no_harm(tmp_path: Path) -> None:
    path, index = tmp_path / "a.json", tmp_path / INDEX
    write_kept(path, "1")
    before = index.read_bytes()
    checksums.add(path, b"2")  # known, and killed before the file was renamed
    after = index.read_bytes()
    for cut in range(len(before), len(after)):
        index.write_bytes(after[:cut])
        unknown(path)
        assert read_kept(path) == 1
        write_kept(path, "3")
        assert read_kept(path) == 3
        write_kept(path, "1")


ADD = "import sys; from leakatk.files.writing import write_kept; [write_kept(f'{sys.argv[1]}/{sys.argv[2]}-{i}.json', str(i)) for i in range(40)]"


def test_several_processes_add_to_one_index(tmp_path: Path) -> None:
    workers = [subprocess.Popen([sys.executable, "-c", ADD, str(tmp_path), str(i)]) for i in range(4)]
    assert [worker.wait() for worker in workers] == [0] * 4
    assert [read_kept(tmp_path / f"{w}-{i}.json") for w in range(4) for i in range(40)] == [*range(40)] * 4


def test_a_disk_that_cannot_be_read_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_kept(path, "1")
    real = Path.open

    def broken(self: Path, *arguments: object, **named: object) -> object:
        if self.name == "a.json":
            raise OSError(5, "Input/output error")
        return real(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(RunError, match=r"^Cannot read .*a\.json: Input/output error; check .* Nothing was lost\.$"):
        verify(path)


def test_what_is_not_changed_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_kept(path, "1")
    verify(path)
    monkeypatch.setattr(checksums, "digest_of", lambda _: pytest.fail("hashed again"))
    verify(path)


def test_sealed_lines() -> None:
    line = checksums.sealed(b'{"a":1}')
    assert checksums.unsealed(line) == {"a": 1}
    for bit in range(8 * len(line)):
        bent = bytearray(line)
        bent[bit // 8] ^= 1 << bit % 8
        assert checksums.unsealed(bytes(bent)) is None
    assert checksums.unsealed(b'{"a":1}') is None
