"""The tables of a run: whole or not at all, checked before they are read, and one sentence when they are damaged."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leakatk.errors import RunError
from leakatk.files.checksums import names
from leakatk.files.tables import column_names, read_about, read_table, read_text, with_about, write_table

TABLE = pa.table({"id": ["a", "é\u2028", ""], "score": [0.5, None, 1.0], "ids": [[1, 2], [], [3]]})


@pytest.fixture
def path(tmp_path):
    write_table(TABLE, tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


def test_what_is_written_is_read_whole_or_by_columns(path):
    assert read_table(path).equals(TABLE)
    assert read_table(path, ["score"]).equals(TABLE.select(["score"]))
    assert column_names(path) == TABLE.column_names
    assert names(path.parent) == {"t.parquet"}
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_directory_named_like_a_partition_adds_no_column(tmp_path):
    write_table(TABLE, tmp_path / "seed=3" / "t.parquet")
    assert read_table(tmp_path / "seed=3" / "t.parquet").column_names == TABLE.column_names


def test_json_about_a_table_is_one_file_with_it(tmp_path):
    about = {"scorer": "rouge-l", "stem": True, "n": 3, "path": Path("a/b")}
    write_table(with_about(TABLE, about), tmp_path / "s.parquet")
    table, found = read_about(tmp_path / "s.parquet")
    assert table.equals(TABLE)
    assert found == {**about, "path": "a/b"}, "what is no JSON is kept as text"


@pytest.mark.parametrize("metadata", [None, {"other": "1"}, {"leakatk": "{"}])
def test_a_table_without_what_is_known_of_it_is_no_score_file(tmp_path, metadata):
    write_table(TABLE.replace_schema_metadata(metadata), tmp_path / "s.parquet")
    with pytest.raises(RunError, match=r"s\.parquet is no score file of a leakatk run; move it away"):
        read_about(tmp_path / "s.parquet")


@pytest.mark.parametrize("kept", [True, False], ids=["with an index", "of an older version"])
def test_a_damaged_table_is_one_sentence_wherever_it_is_cut(tmp_path, path, kept):
    if not kept:
        path = path.rename(tmp_path / "older.parquet")
        for file in tmp_path.iterdir():
            if file != path:
                file.unlink()
    whole = path.read_bytes()
    for damaged in (b"", whole[:4], whole[: len(whole) // 2], whole[:-1], b"\xff" * len(whole)):
        path.write_bytes(damaged)
        with pytest.raises(RunError, match=rf"{path.name} is damaged") as said:
            read_table(path)
        assert "\n" not in str(said.value)
        assert "made anew" in str(said.value)
        with pytest.raises(RunError, match=rf"{path.name} is damaged or unreadable \("):
            column_names(path)


def test_a_table_that_is_not_there_is_one_sentence(tmp_path):
    for read in (read_table, column_names):
        with pytest.raises(RunError, match=r"none\.parquet is damaged or unreadable"):
            read(tmp_path / "none.parquet")


def test_a_table_that_unpacks_to_too_much_is_not_read(path, monkeypatch):
    about = pq.read_metadata(path)
    size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    monkeypatch.setattr("leakatk.files.tables.MOST_BYTES", size)
    assert read_table(path).equals(TABLE), "as much as is allowed"
    monkeypatch.setattr("leakatk.files.tables.MOST_BYTES", size - 1)
    monkeypatch.setattr("pyarrow.parquet.read_table", lambda *_, **__: pytest.fail("read"))
    with pytest.raises(RunError, match=rf"unpacks to {size:,} bytes, and at most {size - 1:,} are read"):
        read_table(path)


def test_a_text_is_read_or_named(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("é\n", encoding="utf-8")
    assert read_text(path) == "é\n"
    path.write_bytes(b"ab\xff")
    with pytest.raises(RunError, match=r"a\.txt is damaged \(not UTF-8 at byte 2\); restore it from a copy"):
        read_text(path)
    with pytest.raises(RunError, match=r"Cannot read .*none\.txt: No such file or directory; check that it is there"):
        read_text(tmp_path / "none.txt")
