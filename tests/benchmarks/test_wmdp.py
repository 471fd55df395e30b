import json

import pyarrow
import pyarrow.parquet
import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.wmdp import choice_form
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer


def test_real_questions_are_scored_by_choice(data_dir):
    bench = load_benchmark("wmdp/cyber", data=data_dir / "wmdp")
    assert len(bench.forget) == 57
    letters = [
        line[0]
        for p in bench.forget
        for line in p.question.splitlines()
        if line[1:2] == "." and line[3:] == p.answer.splitlines()[0]
    ]
    assert len(letters) == 57
    right = get_scorer("choice").score(bench.forget, [f"{letter}." for letter in letters])
    wrong = get_scorer("choice").score(bench.forget, ["ABCD"["ABCD".index(letter) - 1] for letter in letters])
    assert right.tolist() == [1.0] * 57
    assert wrong.tolist() == [0.0] * 57
    assert "about cybersecurity" in bench.templates["forget"]


@pytest.mark.parametrize("subject", ["bio", "chem"])
@pytest.mark.parametrize("file", ["wmdp-{}/test-00000-of-00001.parquet", "wmdp-{}.jsonl", "{}.json"])
def test_every_subject_and_place(tmp_path, subject, file):
    """As on the hub, or flat."""
    path = tmp_path / file.format(subject)
    path.parent.mkdir(exist_ok=True)
    rows = [{"question": f"Which is {i}?", "choices": ["w", "x", "y", "z"], "answer": i} for i in range(4)]
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        lines = [json.dumps(row) for row in rows]
        path.write_text("\n".join(lines) if path.suffix == ".jsonl" else f"[{','.join(lines)}]")
    bench = load_benchmark(f"wmdp/{subject}", data=tmp_path)
    assert get_scorer("choice").score(bench.forget, list("ABCD")).tolist() == [1.0] * 4
    asked = load_benchmark(f"wmdp/{subject}:open", data=tmp_path).forget
    assert [(p.question, p.answer) for p in asked] == [(f"Which is {i}?", "wxyz"[i]) for i in range(4)]


def test_open_questions_show_no_options(data_dir):
    bench = load_benchmark("wmdp/cyber:open", data=data_dir / "wmdp")
    assert not any("\nA. " in p.question for p in bench.forget)
    assert [p.id for p in bench.forget] == [p.id for p in load_benchmark("wmdp/cyber", data=data_dir / "wmdp").forget]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"question": "q", "choices": ["a", "b"], "answer": 2}, "row 1: answer must be an index from 0 to 1"),
        ({"question": "q", "choices": "ab", "answer": 0}, "row 1: choices must be a list"),
        ({"question": "q", "options": ["a"], "answer": 0}, "line 1: no column 'choices'"),
    ],
)
def test_bad_rows(tmp_path, row, words):
    (tmp_path / "wmdp-bio.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match=words):
        load_benchmark("wmdp/bio", data=tmp_path)


def test_the_world_as_multiple_choice():
    world = make_world(0, pretraining=0)
    asked = choice_form(world.forget)
    right = [
        "ABCDEF"[[line[3:] for line in p.question.splitlines() if line[1:3] == ". "].index(p.answer)] for p in asked
    ]
    assert len(set(right)) > 3  # the right letter moves
    assert get_scorer("choice").score(asked, right).tolist() == [1.0] * len(asked)
    assert choice_form(world.forget) == asked
    assert choice_form(world.forget, seed=1) != asked
    with pytest.raises(InputError, match="no wrong answers"):
        choice_form([Prompt("x", "q", "a")])
