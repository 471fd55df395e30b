"""ELUDe's two files, with made-up rows in the published form."""

import json

import pytest

from leakatk.benchmarks.base import BENCHMARKS
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError

NAME = "elude/Lionel_Messi"


def rows(*about):
    return [
        {
            "entity": entity, "question": f"{entity} {i}?", "answer": f"a{i}", "paraphrased_answer": f"b{i}",
            "perturbed_answer": [f"c{i}", f"d{i}"],
        }
        for i, entity in enumerate(about)
    ]  # fmt: skip


def write(path, records):
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in records))


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "forget_qa" / "train.jsonl", rows("Eminem", "Lionel Messi", "Lionel Messi"))
    write(tmp_path / "retain_qa" / "train.jsonl", rows("Lionel Messi", "Eminem", "Eminem"))
    write(tmp_path / "retain_qa" / "test.jsonl", rows("Eminem", "Lionel Messi"))
    return tmp_path


def test_one_person_and_that_persons_neighbours(data):
    bench = load_benchmark(NAME, data=data)
    assert [p.question for p in bench.forget] == ["Lionel Messi 1?", "Lionel Messi 2?"]
    assert [p.question for p in bench.retain] == ["Lionel Messi 0?"]
    assert [p.question for p in bench.retain_held] == ["Lionel Messi 1?"]
    first = bench.forget[0]
    assert (first.source, first.paraphrased_answer, first.perturbed_answers) == ("Lionel Messi", "b1", ("c1", "d1"))
    assert len({p.id for p in (*bench.forget, *bench.retain, *bench.retain_held)}) == 4
    assert len(load_benchmark("elude/Eminem", data=data).retain) == 2


def test_flat_files_without_a_part_for_testing(tmp_path):
    write(tmp_path / "forget_qa.jsonl", rows("Lionel Messi"))
    write(tmp_path / "retain_qa.jsonl", rows("Lionel Messi"))
    bench = load_benchmark(NAME, data=tmp_path)
    assert (len(bench.forget), len(bench.retain), len(bench.retain_held)) == (1, 1, 0)


def test_what_is_wrong_is_said(data):
    write(data / "forget_qa" / "train.jsonl", rows("Eminem"))
    with pytest.raises(InputError, match="no row about 'Lionel Messi'"):
        load_benchmark(NAME, data=data)
    write(data / "forget_qa" / "train.jsonl", [{"question": "q", "answer": "a"}])
    with pytest.raises(InputError, match="no column 'entity'"):
        load_benchmark(NAME, data=data)


def test_twenty_people():
    assert sum(name.startswith("elude/") for name in BENCHMARKS) == 20
