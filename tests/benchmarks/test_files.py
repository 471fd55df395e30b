import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.files import check_file
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt, save_prompts


def test_a_world_lacks_nothing(tmp_path):
    make_world(0, pretraining=0).export(tmp_path)
    report = check_file(tmp_path / "forget.jsonl")
    assert report.prompts == 48
    assert len(report.usable) == 6
    assert report.missing == report.warnings == ()


def test_a_bare_file_says_what_would_help(tmp_path):
    save_prompts([Prompt(str(i), f"q{i}?", "a") for i in range(30)], tmp_path / "f.jsonl")
    report = check_file(tmp_path / "f.jsonl")
    assert len(report.usable) == 1
    assert any("add a column facts" in line for line in report.missing)


def test_columns_that_nothing_uses_are_named(tmp_path):
    (tmp_path / "f.jsonl").write_text('{"question": "q", "answer": "a", "fact": "a", "topic": "t"}\n')
    assert "Columns that nothing uses: fact, topic." in check_file(tmp_path / "f.jsonl").warnings


def test_odd_rows_are_named(tmp_path):
    prompts = [
        Prompt("a", "Where?", "In Rome.", facts=("Paris",)),
        Prompt("b", "Where?", "In Rome.", perturbed_answers=("In Rome.",)),
        Prompt("c", "Is it Rome?", "Rome", facts=("Rome",)),
        Prompt("d", "Recite.", "word " * 300),
    ]
    save_prompts(prompts, tmp_path / "f.jsonl")
    report = check_file(tmp_path / "f.jsonl")
    text = " ".join(report.warnings)
    for part in ("1 questions are asked more", "first is 'a'", "give their facts away", "'c'", "'b'", "'d'", "Only 4"):
        assert part in text
    assert any("2 of 4 rows have no facts" in line for line in report.missing)


def test_no_such_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        check_file(tmp_path / "none.jsonl")


def test_own_files_as_a_benchmark(tmp_path):
    world = make_world(0, pretraining=0)
    world.export(tmp_path)
    bench = load_benchmark(str(tmp_path))
    assert (bench.forget, bench.retain, bench.retain_held, bench.holdout) == (
        world.forget,
        world.retain,
        world.retain_held,
        world.holdout,
    )
    assert bench.sets == {"world_facts": world.world_facts}
    assert bench.refusals == world.refusals
    assert load_benchmark(str(tmp_path / "forget.jsonl")).forget == world.forget
    (tmp_path / "forget.jsonl").unlink()
    with pytest.raises(InputError, match=r"no forget\.jsonl"):
        load_benchmark(str(tmp_path))
