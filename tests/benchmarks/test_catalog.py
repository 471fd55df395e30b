"""A benchmark by its name: what is refused, and what is said of files that are not as published."""

import json

import pytest

from leakatk.benchmarks.catalog import BENCHMARKS, benchmark, load_benchmark
from leakatk.benchmarks.fetch import FetchError
from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import Prompt, save_prompts


def test_names():
    with pytest.raises(UnknownNameError, match="did you mean tofu/forget10"):
        load_benchmark("tofu/forget1")
    assert all(BENCHMARKS[name].summary for name in BENCHMARKS)
    assert benchmark("world", seed=3).forget != benchmark("world").forget
    with pytest.raises(InputError, match="ask must be"):
        load_benchmark("world", ask="loudly")


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if not BENCHMARKS[name].paraphrased])
def test_paraphrases_that_nobody_published_are_not_asked(name):
    with pytest.raises(InputError, match=f"{name} has no published paraphrases to ask instead; leave --ask out"):
        load_benchmark(name, ask="paraphrased")


def test_files_of_ones_own_may_have_other_columns_and_no_paraphrases(tmp_path):
    path = tmp_path / "own.jsonl"
    path.write_text(json.dumps({"q": "Who?", "a": "Ada."}) + "\n")
    bench = load_benchmark(str(path), columns={"question": "q", "answer": "a"})
    assert [(p.question, p.answer) for p in bench.forget] == [("Who?", "Ada.")]
    save_prompts([Prompt("p", "Who?", "Ada.")], tmp_path / "usual.jsonl")
    with pytest.raises(InputError, match="no published paraphrases"):
        load_benchmark(str(tmp_path / "usual.jsonl"), ask="paraphrased")
    with pytest.raises(InputError, match="--column only goes with files of your own; world has its columns"):
        load_benchmark("world", columns={"question": "q"})


def test_a_known_name_is_the_benchmark_whatever_lies_in_the_directory(tmp_path, monkeypatch):
    (tmp_path / "world").mkdir()
    expected = load_benchmark("world")
    monkeypatch.chdir(tmp_path)
    assert load_benchmark("world") == expected


def test_the_seed_is_the_generated_worlds_own():
    assert load_benchmark("contracts", seed=4) == load_benchmark("contracts", seed=4)
    assert load_benchmark("contracts", seed=4) != load_benchmark("contracts", seed=5)


def test_a_file_that_is_not_what_was_published_says_how_to_get_it_again(tmp_path):
    (tmp_path / "sample_data_1.json").write_text(json.dumps([{"question": "q", "reply": "a"}]))
    with pytest.raises(InputError) as said:
        load_benchmark("pistol/1", data=tmp_path)
    again = (
        f"Get the published files again with `hf download xinchiqiu/PISTOL --repo-type dataset --local-dir {tmp_path}`."
    )
    assert str(said.value).endswith(again)
    assert "sample_data_1.json, line 1" in str(said.value)


def test_a_file_that_is_not_there_says_so_once(tmp_path):
    with pytest.raises(FetchError) as said:
        load_benchmark("pistol/1", data=tmp_path)
    assert str(said.value).count("hf download") == 1
    assert "Get the published files again" not in str(said.value)
