"""--column, --limit and --retain-limit, and what of them is said and stored."""

import csv
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leakatk.cli import inputs
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.runs.store import Run
from tests.tiny import PROMPTS

SHORT = ("--n", "2", "--max-new-tokens", "3", "--scorer", "rouge-l", "--quiet")
MAPPED = ("--column", "question=Q", "--column", "answer=A")


@pytest.fixture
def frage(tmp_path):
    with (tmp_path / "frage.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("Q", "A"), *((p.question, p.answer) for p in PROMPTS)])
    return tmp_path / "frage.csv"


def test_an_audit_of_parquet_and_of_csv_with_columns_of_their_own(leakatk, model, frage, tmp_path):
    pq.write_table(
        pa.table({"Q": [p.question for p in PROMPTS], "A": [p.answer for p in PROMPTS]}), tmp_path / "q.parquet"
    )
    for i, file in enumerate((frage, tmp_path / "q.parquet")):
        out = tmp_path / f"run{i}"
        code, _, err = leakatk("audit", model, "--forget", file, *MAPPED, "--retain", frage, "--out", out, *SHORT)
        assert code == 0, err
        assert [(p.question, p.answer) for p in Run.open(out).prompts] == [(p.question, p.answer) for p in PROMPTS]
    code, _, err = leakatk("audit", "--config", tmp_path / "run0" / "config.toml", "--quiet")
    assert code == 0, err  # the mapping is among the options written back


def test_a_misspelt_column_is_2_in_every_command_that_takes_one(leakatk, frage, tmp_path):
    wrong = ("--column", "question=QQ", "--column", "answer=A")
    for words in (
        ("audit", "m", "--forget", frage, "--out", tmp_path / "o"),
        ("unlearn", "m", "--forget", frage, "--retain", frage, "--method", "npo", "--out", tmp_path / "o"),
        ("bench", frage, "--model", "m", "--out", tmp_path / "o"),
        ("benchmark", "check", frage),
    ):
        code, _, err = leakatk(*words, *wrong)
        assert code == 2
        assert "expected a column named QQ, found Q, A" in err
        code, _, err = leakatk(*words, "--column", "qestion=Q")
        assert (code, "did you mean question" in err) == (2, True)
    code, _, err = leakatk("audit", "m", "--benchmark", "world", "--out", tmp_path / "o", *MAPPED)
    assert (code, "--column only goes with files of your own" in err) == (2, True)
    code, _, err = leakatk("bench", "world", "--model", "m", "--out", tmp_path / "o", *MAPPED)
    assert (code, "--column only goes with files of your own" in err) == (2, True)
    assert not (tmp_path / "o").exists()


def test_a_limited_audit_says_so_wherever_it_is_looked_at(leakatk, model, forget, tmp_path):
    command = ("audit", model, "--forget", forget, "--retain", forget, "--out", tmp_path / "run", *SHORT)
    code, _, err = leakatk(*command, "--limit", "2", "--retain-limit", "1")
    assert code == 0, err
    assert "Only 2 of 3 forget prompts, --limit; 1 of 3 retain prompts, --retain-limit" in err
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert "2 of 3 forget prompts" in results["benchmark"]
    assert "1 of 3 retain prompts" in results["benchmark"]
    assert "2 of 3 forget prompts" in Run.open(tmp_path / "run").manifest.benchmark
    assert len(Run.open(tmp_path / "run" / "retain").prompts) == 1
    assert "2 of 3 forget prompts" in (tmp_path / "run" / "report.html").read_text()
    code, _, err = leakatk(*command[:4], *command[6:], "--retain-limit", "1")
    assert (code, "no retain prompts" in err) == (2, True)


def test_a_limit_that_leaves_nothing_out_says_nothing(leakatk, model, forget, tmp_path):
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", *SHORT, "--limit", "3")
    assert (code, "Only" in err) == (0, False), err
    assert json.loads((tmp_path / "run" / "results.json").read_text())["benchmark"] == "forget.jsonl"


def test_a_limited_benchmark_says_so_in_every_row(leakatk, model, forget, tmp_path):
    from leakatk.bench.results import read_rows

    command = ("bench", forget, "--model", model, "--n", "2", "--decoding", "max_new_tokens=3", "--quiet")
    code, _, err = leakatk(*command, "--out", tmp_path / "part", "--limit", "2")
    assert code == 0, err
    assert "Only 2 of 3 forget prompts" in err
    assert all("2 of 3 forget prompts" in row["origin"] for row in read_rows(tmp_path / "part"))


def test_unlearning_a_part_says_so_and_how_to_audit_it(leakatk, model, frage, tmp_path):
    common = (
        "unlearn",
        model,
        "--forget",
        frage,
        "--retain",
        frage,
        *MAPPED,
        "--method",
        "npo",
        "--steps",
        "1",
        "--quiet",
    )
    code, out, err = leakatk(*common, "--out", tmp_path / "m", "--limit", "2", "--json")
    assert code == 0, err
    assert "2 of 3 forget prompts" in json.loads(out)["prompts"]
    assert "--limit 2 --column question=Q --column answer=A" in err


def test_columns_of_their_own_reach_the_unseen(leakatk, model, forget, frage, tmp_path, monkeypatch):
    reached = []
    monkeypatch.setattr("leakatk.cli.rule.run_calibrated", lambda *_, unseen, **__: reached.extend(unseen) or {})
    rule = ("--method", "rule", "--base", "npo", "--reference", model, "--original", model, "--unseen")
    common = ("unlearn", model, "--forget", frage, "--retain", frage, *MAPPED, *rule)
    code, _, err = leakatk(*common, frage, "--out", tmp_path / "a")
    assert code == 0, err
    code, _, err = leakatk(*common, forget, "--out", tmp_path / "b")  # the usual names still hold
    assert code == 0, err
    assert [(p.question, p.answer) for p in reached] == 2 * [(p.question, p.answer) for p in PROMPTS]


def test_what_is_drawn_is_the_same_for_every_seed_and_order_and_grows():
    prompts = [Prompt(f"author-{i // 20}-{i}", "?", "a") for i in range(400)]
    few, more = inputs.drawn(prompts, 40), inputs.drawn(prompts, 80)
    assert {p.id for p in few} < {p.id for p in more}
    assert {p.id for p in inputs.drawn(prompts[::-1], 40)} == {p.id for p in few}
    assert [p.id for p in few] == [p.id for p in prompts if p in few]
    assert len({p.id.split("-")[1] for p in few}) > 10, "the first forty are of two authors"
    with pytest.raises(InputError, match="no retain prompts"):
        inputs.limited(prompts, [], None, 3)
