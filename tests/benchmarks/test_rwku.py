import json

import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError

# Made-up rows in the three published formats.


@pytest.fixture
def rwku(tmp_path):
    folder = tmp_path / "1_Somebody"
    folder.mkdir()
    for level in (1, 2, 3):
        rows = [{"query": f"f{level}?", "answer": "a", "level": str(level), "type": "x", "subject": "Somebody"}] * level
        (folder / f"forget_level{level}.json").write_text(json.dumps(rows))
    for level in (1, 2):
        (folder / f"neighbor_level{level}.json").write_text(
            json.dumps([{"query": "n?", "answer": "b", "neighbor": "Other"}])
        )
    return folder


def test_rwku(rwku):
    bench = load_benchmark("rwku", data=rwku)
    assert (len(bench.forget), len(bench.retain)) == (6, 2)
    assert len({p.id for p in bench.forget}) == 6
    assert bench.forget[0].source == "Somebody"
    assert bench.name == "rwku/1_Somebody"
    (rwku / "neighbor_level2.json").write_text('[{"question": "n?", "answer": "b"}]')
    with pytest.raises(InputError, match=r"neighbor_level2\.json, line 1: no column 'query'"):
        load_benchmark("rwku", data=rwku)


def test_knowundo(tmp_path):
    for file in ("unlearn", "retention"):
        content = {part: [{"text": f"{file} {part}?", "labels": "x"}] for part in ("train", "val")}
        (tmp_path / f"{file}.json").write_text(json.dumps(content if file == "unlearn" else [content]))
    bench = load_benchmark("knowundo", data=tmp_path)
    assert [p.question for p in bench.forget] == ["unlearn train?"]
    assert [p.question for p in bench.retain] == ["retention train?"]
    assert [p.question for p in bench.sets["forget_val"]] == ["unlearn val?"]
    (tmp_path / "unlearn.json").write_text('{"train": []}')
    with pytest.raises(InputError, match="no list of rows named 'val'"):
        load_benchmark("knowundo", data=tmp_path)


def test_pistol(tmp_path):
    rows = [{"question": "q", "answer": "a", "edge": edge} for edge in ("A_B", "A_B", "A_C")]
    (tmp_path / "sample_data_1.json").write_text(json.dumps(rows))
    bench = load_benchmark("pistol/1", data=tmp_path)
    assert (len(bench.forget), len(bench.retain)) == (2, 1)
    (tmp_path / "sample_data_1.json").write_text(json.dumps(rows[2:]))
    with pytest.raises(InputError, match="no contract 'A_B'; its contracts: A_C"):
        load_benchmark("pistol/1", data=tmp_path)


@pytest.mark.parametrize("name", ["rwku", "knowundo"])
def test_directory_only(name):
    with pytest.raises(InputError, match="hf download"):
        load_benchmark(name)
