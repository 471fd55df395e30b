"""The generations of a run from shards, a Parquet file or both."""

import pytest

from leakatk.errors import RunError
from leakatk.prompts import Generation
from leakatk.runs.generations import next_shard, parquet, read_generations_of, shard_paths
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from tests.tiny import PROMPTS


@pytest.fixture
def run(tmp_path):
    manifest = Manifest.create(prompts=PROMPTS, model={}, decoding={}, seed=0, n=2, engine="x")
    with Run.create_or_resume(tmp_path / "run", manifest, PROMPTS) as run:
        yield run


def said(id, sample, text):
    return Generation(id, sample, text, (1, 2), -1.0, "stop")


def rows(table):
    return [(row["prompt_id"], row["sample"], row["text"]) for row in table.to_pylist()]


ORDER = {"p0": 0, "p1": 1, "p2": 2}


def test_shards_and_the_compacted_file_are_one_table(run):
    run.append([said("p1", 1, "late"), said("p0", 0, "first")])
    assert rows(read_generations_of(run.path, ORDER, tokens=True)[0]) == [("p0", 0, "first"), ("p1", 1, "late")]
    run.finish()
    assert parquet(run.path).exists()
    assert shard_paths(run.path) == []
    run.append([said("p1", 0, "more")])
    table, damaged = read_generations_of(run.path, ORDER, tokens=False)
    assert rows(table) == [("p0", 0, "first"), ("p1", 0, "more"), ("p1", 1, "late")]
    assert "token_ids" not in table.column_names
    assert damaged == 0


def test_a_half_written_line_is_counted(run):
    run.append([said("p0", 0, "whole")])
    with shard_paths(run.path)[0].open("ab") as file:
        file.write(b'{"prompt_id": "p0", "sam')
    table, damaged = read_generations_of(run.path, ORDER, tokens=True)
    assert (rows(table), damaged) == ([("p0", 0, "whole")], 1)


def test_generations_of_other_prompts(run):
    run.append([said("p2", 0, "x")])
    with pytest.raises(RunError, match="prompt 'p2', which is not among its prompts"):
        read_generations_of(run.path, {"p0": 0}, tokens=False)


def test_shards_are_numbered(tmp_path):
    assert next_shard(tmp_path).name == "000001.jsonl"
    (tmp_path / "generations" / "000041.jsonl").touch()
    assert next_shard(tmp_path).name == "000042.jsonl"
