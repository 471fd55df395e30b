"""Files of every format that a user may give, and what is no file at all."""

import bz2
import gzip
import json
import lzma
import os
import socket
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leakatk.errors import InputError, UnknownNameError
from leakatk.files import reading
from leakatk.files.reading import parse_json, read_text, rows_of
from leakatk.prompts import columns_from, load_prompts

ROWS = [
    {"MyQ": "Where, was Ada born?", "MyA": 'In "Zorvik"\nor so.', "facts": ["Zorvik"], "extra": 1},
    {"MyQ": "Wer lehrte Bö; 漢?", "MyA": "Mira Quell.", "facts": ["Mira", "Quell"], "extra": 2},
]
MAPPED = columns_from(["question=MyQ", "answer=MyA"])


def as_jsonl(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def as_list(path, rows):
    path.write_text(json.dumps(rows, indent=1))


def as_csv(path, rows, sign=",", mark=""):
    import csv

    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(mark)
        writer = csv.writer(file, delimiter=sign)
        writer.writerow(rows[0])
        writer.writerows(
            [json.dumps(cell) if isinstance(cell, list) else cell for cell in row.values()] for row in rows
        )


def as_parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


FORMATS = {
    "p.jsonl": as_jsonl,
    "p.json": as_list,
    "p.csv": as_csv,
    "p.tsv": lambda path, rows: as_csv(path, rows, "\t"),
    "semicolons.csv": lambda path, rows: as_csv(path, rows, ";"),
    "bom.csv": lambda path, rows: as_csv(path, rows, mark="\ufeff"),
    "p.parquet": as_parquet,
    "parquet.jsonl": as_parquet,  # by what it holds, not by its name
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_prompts_with_columns_of_ones_own(tmp_path, name):
    FORMATS[name](tmp_path / name, ROWS)
    found = load_prompts(tmp_path / name, MAPPED)
    assert [(p.id, p.question, p.answer, p.facts) for p in found] == [
        (str(i), row["MyQ"], row["MyA"], tuple(row["facts"])) for i, row in enumerate(ROWS)
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_a_misspelt_or_missing_column_is_named_with_the_nearest(tmp_path, name):
    FORMATS[name](tmp_path / name, ROWS)
    with pytest.raises(InputError, match=r"no question; expected a column named MyQs, found MyQ.*mean MyQ"):
        load_prompts(tmp_path / name, columns_from(["question=MyQs", "answer=MyA"]))
    with pytest.raises(UnknownNameError, match="'fakts': did you mean facts"):
        load_prompts(tmp_path / name, {**MAPPED, "source": "fakts"})
    FORMATS[name](tmp_path / name, [{"qestion": "a?", "answer": "b"}])
    with pytest.raises(InputError, match=r"found qestion.*Did you mean qestion.*--column question=qestion"):
        load_prompts(tmp_path / name)
    FORMATS[name](tmp_path / name, [{"xyz": "a?", "w": "b"}])
    with pytest.raises(InputError, match=r"found xyz, w. Name yours with --column question=NAME"):
        load_prompts(tmp_path / name)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("empty", [None, "", " "])
def test_an_empty_answer_is_named_by_its_place(tmp_path, name, empty):
    rows = [{"question": "a?", "answer": "b"}, {"question": "When?", "answer": empty}]
    FORMATS[name](tmp_path / name, rows)
    with pytest.raises(InputError, match=r", (line|row) [23]: the answer (is null|must be a non-empty string)"):
        load_prompts(tmp_path / name)


def test_files_that_need_not_have_the_columns_may_use_the_usual_ones(tmp_path):
    as_jsonl(tmp_path / "retain.jsonl", [{"question": "a?", "answer": "b"}])
    with pytest.raises(InputError, match="MyQ"):
        load_prompts(tmp_path / "retain.jsonl", MAPPED)
    assert load_prompts(tmp_path / "retain.jsonl", MAPPED, strict=False)[0].answer == "b"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("question", "FIELD=NAME"),
        ("question=", "FIELD=NAME"),
        ("qestion=Q", "did you mean question"),
    ],
)
def test_column_options_are_checked(spec, words):
    with pytest.raises(InputError, match=words):
        columns_from([spec])
    with pytest.raises(InputError, match="given twice"):
        columns_from(["question=a", "prompt=b"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("question,answer\nWho?\n", "line 2: 1 cells, but the first line names 2 columns"),
        ("question,answer\nWho?,a, b\n", "3 cells.*double quotes"),
        ('question,answer\n"Who?,b\n', "not a valid table"),
        ("question,question\na,b\n", "two columns share a name"),
        ('question,answer\n"a\nb",\n', "line 2: the answer must be"),
        ('question,answer\n"a\nb",c\nd,\n', "line 4: the answer must be"),
        ("question,answer\n", "no prompts"),
    ],
)
def test_bad_tables(tmp_path, text, words):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=words):
        load_prompts(tmp_path / "bad.csv")


def test_what_is_no_prompt_says_what_it_is(tmp_path):
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"version": 2, "status": "success", "eval": {}, "samples": []}, indent=1))
    with pytest.raises(InputError, match="holds a log of Inspect: what a model said, which `leakatk score` reads"):
        load_prompts(path)
    path.write_text(json.dumps({"custom_id": "p0", "response": {"status_code": 200}}))
    with pytest.raises(InputError, match="holds the output of an OpenAI batch"):
        load_prompts(path)
    content = b'{"question": "q", "answer": "a"}'
    for packed, tool in (
        (gzip.compress(content), "gunzip"),
        (bz2.compress(content), "bunzip2"),
        (lzma.compress(content), "xz -dc"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ):
        path.write_bytes(packed)
        with pytest.raises(InputError, match=tool):
            load_prompts(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    with pytest.raises(InputError, match="zip archive"):
        load_prompts(path)


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    listening = socket.socket(socket.AF_UNIX)
    (tmp_path / "dir").mkdir()
    place = os.open(tmp_path, os.O_RDONLY)
    here = Path.cwd()
    try:
        os.fchdir(place)  # a path of a socket is short
        listening.bind("socket")
    finally:
        os.chdir(here)
        os.close(place)
    for name, words in [
        ("fifo", "is a pipe"),
        ("socket", "is a socket"),
        ("loop", "levels of symbolic links"),
        ("dir", "is a directory"),
        ("a" * 300, "name too long"),
        ("nul\0", "NUL"),
        ("/dev/zero", "is a device"),
        ("/dev/full", "is a device"),
        ("/dev/null", "is a device"),
    ]:
        for read in (load_prompts, read_text):
            with pytest.raises(InputError, match=words):
                read(tmp_path / name)
    listening.close()


def test_a_directory_that_is_read_holds_files(tmp_path):
    reading.check_directory(tmp_path / "absent")
    (tmp_path / "run" / "generations").mkdir(parents=True)
    (tmp_path / "run" / "results.json").write_text("{}")
    (tmp_path / "run" / "gone.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "run" / "pipe")  # under no name that is read
    reading.check_directory(tmp_path / "run")
    for make, words in (
        (os.mkfifo, "is a pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "is a device"),
        (lambda path: path.symlink_to(path), "symbolic links"),
    ):
        odd = tmp_path / "run" / "generations" / "000001.jsonl"
        make(odd)
        with pytest.raises(InputError, match=words):
            reading.check_directory(tmp_path / "run")
        odd.unlink()
    with (tmp_path / "run" / "results.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="holds more than 256 MB"):
        reading.check_directory(tmp_path / "run")


def test_sizes_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_LINE", 1000)
    path = tmp_path / "long.jsonl"
    path.write_text('{"question": "' + "a" * 2000)
    with pytest.raises(InputError, match="line 1 goes beyond"):
        load_prompts(path)
    monkeypatch.setattr(reading, "MAX_LINES", 1500)
    with pytest.raises(InputError, match="more than 1 MB"):
        load_prompts(path)
    with pytest.raises(InputError, match="more than"):
        read_text(path, most=100)
    monkeypatch.undo()
    with path.open("wb") as file:  # as large as it says, and nowhere on the disk
        file.truncate(1 << 40)
    with pytest.raises(InputError, match="more than"):
        load_prompts(path)


def test_a_table_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "MAX_WHOLE", 1 << 20)
    pq.write_table(pa.table({"question": ["a" * 100_000] * 1000, "answer": ["b"] * 1000}), tmp_path / "bomb.parquet")
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 20
    with pytest.raises(InputError, match="holds more than"):
        load_prompts(tmp_path / "bomb.parquet")
    monkeypatch.setattr(reading, "MAX_ROWS", 10)
    with pytest.raises(InputError, match="more than 10 rows"):
        load_prompts(tmp_path / "bomb.parquet")


@pytest.mark.parametrize("depth", [70, 900, 100_000])
@pytest.mark.parametrize("shape", ['{{"a": {}}}', "[{}]", '[{{"a": 1}}, {}]'])
def test_depth_is_bounded(depth, shape):
    before, after = shape.split("{}") if "{}" in shape else ("", "")
    before, after = before.replace("{{", "{").replace("}}", "}"), after.replace("}}", "}").replace("{{", "{")
    with pytest.raises(InputError, match="nested too deeply"):
        parse_json(before * depth + "1" + after * depth, "here")
    assert parse_json(before * 60 + "1" + after * 60, "here")


def test_many_brackets_need_not_be_deep():
    assert len(parse_json(json.dumps([[i] for i in range(200)]), "here")) == 200


def test_numbers_are_bounded():
    assert parse_json("[" + "9" * 40 + "]", "here") == [10**40 - 1]
    for digits in (41, 5000, 400_000):
        with pytest.raises(InputError, match="digits"):
            parse_json("-" + "9" * digits, "here")


def test_only_what_is_cut_is_said_to_be(tmp_path):
    with pytest.raises(InputError, match="is it cut short"):
        parse_json('{"a": "b', "here")
    with pytest.raises(InputError, match=r"not valid JSON \(Expecting ',' delimiter\)\.$"):
        parse_json('{"a": 1 "b": 2}', "here")
    (tmp_path / "one.json").write_text(json.dumps({"question": "q", "answer": "a"}, indent=2))
    assert [row["answer"] for _, _, row in rows_of(tmp_path / "one.json")] == ["a"]
