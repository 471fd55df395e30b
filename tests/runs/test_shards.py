"""Shards: lines with a checksum, written whole or not at all, and what is damaged is counted and left out."""

import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from leakatk.errors import RunError
from leakatk.prompts import Generation
from leakatk.runs.shards import SCHEMA, ShardWriter, clean_text, encode_line, read_shard


def generation(sample: int, **changes: object) -> Generation:
    given = {
        "text": f"text {sample}\u2028",
        "token_ids": (sample, 2**31 - 1),
        "logprob": -sample / 3,
        "finish_reason": "stop",
    }
    return Generation(**{"prompt_id": "p", "sample": sample, **given, **changes})  # type: ignore[arg-type]


MANY = [
    generation(0),
    generation(1, reasoning="a thought"),
    generation(2, logprob=math.nan, token_ids=()),
    generation(3, text="", finish_reason="length", logprob=-math.inf),
]


def written(path: Path, *batches: list[Generation]) -> Path:
    writer = ShardWriter(path)
    for batch in batches:
        writer.append(batch)
    writer.close()
    return path


def rows(path: Path, *, tokens: bool = True) -> list[dict]:  # type: ignore[type-arg]
    return pa.concat_tables(read_shard(path, tokens=tokens)[0]).to_pylist()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    found = rows(written(tmp_path / "s", MANY[:2], [], MANY[2:]))
    assert [row["sample"] for row in found] == [0, 1, 2, 3]
    for row, one in zip(found, MANY, strict=True):
        assert (row["prompt_id"], row["text"], row["finish"]) == (one.prompt_id, one.text, one.finish_reason)
        assert (row["reasoning"], tuple(row["token_ids"])) == (one.reasoning, one.token_ids)
        np.testing.assert_equal(row["logprob"], one.logprob)
    without = rows(tmp_path / "s", tokens=False)
    assert without[:1] == [{key: value for key, value in found[0].items() if key != "token_ids"}]
    tables, damaged = read_shard(tmp_path / "s", tokens=True)
    assert (damaged, tables[0].schema) == (0, SCHEMA)


def test_a_line_is_ascii_json_and_nan_is_null() -> None:
    line = encode_line(generation(2, logprob=math.nan, text="é\n\u2028"))
    assert line.isascii()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    body = json.loads(line)
    assert (body["text"], body["logprob"]) == ("é\n\u2028", None)
    assert "reasoning" not in body, "what nobody thought takes no room"
    assert list(body)[-1] == "crc32"


def test_numbers_of_numpy_are_written() -> None:
    ours = generation(1, token_ids=(5, 6), logprob=-0.5)
    theirs = generation(np.int64(1), text=ours.text, token_ids=tuple(np.array([5, 6])), logprob=np.float32(-0.5))  # type: ignore[arg-type]
    assert encode_line(theirs) == encode_line(ours)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("plain \0 é 漢", "plain \0 é 漢"),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud800b", "a\ufffdb"),
        ("\udfff", "\ufffd"),
        ("", ""),
    ],
)
def test_a_text_is_kept_as_utf8_can(text: str, kept: str) -> None:
    assert clean_text(text) == kept
    kept.encode()


def test_every_flipped_bit_loses_its_line_alone_and_is_counted(tmp_path: Path) -> None:
    path = written(tmp_path / "s", MANY[:3])
    whole = path.read_bytes()
    first, middle, last = whole.splitlines(keepends=True)
    for bit in range(0, 8 * (len(middle) - 1), 7):
        bent = bytearray(middle)
        bent[bit // 8] ^= 1 << bit % 8
        path.write_bytes(first + bytes(bent) + last)
        tables, damaged = read_shard(path, tokens=True)
        lines = bytes(bent).count(b"\n")  # a bit may make a newline: two damaged lines
        assert damaged == lines
        assert [row["sample"] for table in tables for row in table.to_pylist()] == [0, 2]


def test_a_last_line_cut_anywhere_is_left_out(tmp_path: Path) -> None:
    path = written(tmp_path / "s", MANY[:2])
    whole = path.read_bytes()
    first = len(whole.splitlines(keepends=True)[0])
    for end in range(first + 1, len(whole)):
        path.write_bytes(whole[:end])
        tables, damaged = read_shard(path, tokens=False)
        assert (damaged, sum(map(len, tables))) == (1, 1)
    path.write_bytes(whole[:first])
    assert read_shard(path, tokens=False)[1] == 0


def test_many_rows_come_in_several_tables_and_none_is_lost(tmp_path: Path) -> None:
    path = written(tmp_path / "s", [generation(j) for j in range(5_000)])
    tables, _ = read_shard(path, tokens=False)
    assert len(tables) > 1
    assert [j for table in tables for j in table["sample"].to_pylist()] == list(range(5_000))


class Disk:
    """A file that takes some bytes a write, and fails at one of them."""

    def __init__(self, file: object, step: int, fails_at: int, error: BaseException) -> None:
        self.file, self.step, self.left, self.error = file, step, fails_at, error

    def __getattr__(self, name: str) -> object:
        return getattr(self.file, name)

    def write(self, data: memoryview) -> int:
        if self.left == 0:
            raise self.error
        self.left -= 1
        return self.file.write(data[: self.step])  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "interrupt"]
)
def test_a_batch_is_written_whole_or_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """At whatever write the disk fails; the next batch stands where the lost one began."""
    for fails_at in (0, 1, 3, 6):
        path = tmp_path / f"s{fails_at}"
        writer, disk = on_a_disk(path, monkeypatch, error)
        writer.append(MANY[:1])
        before = path.read_bytes()
        disk.left = fails_at
        with pytest.raises(type(error)):
            writer.append(MANY[1:])
        assert path.read_bytes() == before
        disk.left = -1
        writer.append(MANY[2:3])
        writer.close()
        assert [row["sample"] for row in rows(path)] == [0, 2]


def on_a_disk(path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> tuple[ShardWriter, Disk]:
    """A writer whose file takes 50 bytes at a time."""
    real, disks = Path.open, list[Disk]()

    def opened(self: Path, *a: object, **k: object) -> object:
        disks.append(Disk(real(self, *a, **k), 50, -1, error))  # type: ignore[arg-type]
        return disks[-1]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", opened)
        writer = ShardWriter(path)
    return writer, disks[0]


def test_a_batch_is_there_when_append_returns(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path / "s")
    for number, one in enumerate(MANY, 1):
        writer.append([one])
        assert len(rows(tmp_path / "s")) == number
    writer.close()
    writer.close()  # a second time does nothing


def test_an_older_shard_is_never_touched(tmp_path: Path) -> None:
    path = written(tmp_path / "s", MANY)
    with pytest.raises(FileExistsError):
        ShardWriter(path)
    assert len(rows(path)) == 4


@pytest.mark.parametrize("how", ["removed", "moved", "replaced"])
def test_a_file_that_goes_is_noticed(tmp_path: Path, how: str) -> None:
    writer = ShardWriter(tmp_path / "s")
    assert writer.there()
    if how == "removed":
        writer.path.unlink()
    else:
        writer.path.rename(tmp_path / "elsewhere")
    if how == "replaced":
        writer.path.write_bytes(b"")
    assert not writer.there()
    writer.close()


def test_a_disk_that_has_refused_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ShardWriter(tmp_path / "s")
    writer.append(MANY)
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("waited"))
    writer.abandon()
    writer.close()
    assert len(rows(tmp_path / "s")) == 4


def test_a_shard_that_was_compacted_meanwhile_is_empty_and_one_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    tables, damaged = read_shard(tmp_path / "gone", tokens=True)
    assert (sum(map(len, tables)), damaged) == (0, 0)
    assert tables[0].schema == SCHEMA
    (tmp_path / "place").mkdir()
    with pytest.raises(RunError, match=r"Cannot read .*place: Is a directory; check its owner, mode and disk"):
        read_shard(tmp_path / "place", tokens=True)
