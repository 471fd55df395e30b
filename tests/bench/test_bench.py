"""The tables end to end, with tiny models; what is in a cell is never computed twice."""

import math
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from typer.testing import CliRunner

from leakatk.auditing.score import score
from leakatk.bench import bench as b
from leakatk.bench import results as r
from leakatk.bench.plan import label_of
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.cli.main import app
from leakatk.errors import InputError, ModelError, UnknownNameError
from leakatk.files.tables import write_table
from leakatk.report.content import Number, Table
from leakatk.report.terminal import transposed
from leakatk.sampling.decoding import Decoding
from tests.bench.conftest import BENCH, SHORT, WORLD, few_of
from tests.scorers.conftest import judge_server as judge_server


@pytest.fixture(scope="module")
def results(models, tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    run(models, out)
    return out


def run(models, out, **options):
    options = {
        "n": 4,
        "retain_n": 2,
        "decodings": [SHORT],
        "quiet": True,
        "device": "cpu",
        "retrained": models / "retrained",
        **options,
    }
    return b.bench(models / "forgot", BENCH, out=out, **options)


def test_rows_hold_everything(results):
    rows = r.read_rows(results)
    assert [(row["role"], row["scorer"]) for row in rows] == [
        (role, scorer) for role in ("retrained", "model") for scorer in ("fact", "rouge-l")
    ]
    row = rows[2]
    for column in (
        "leak@1", "leak@4 low", "leak@4 high", "excess@4", "greedy", "retain", "retain@1", "retain@2 low", "sampled_broken",
        "retain_broken", "forget_prob", "auc_min-k++", "auc_reference", "auc_grad-norm", "tpr_reference", "tpr_grad-norm",
        "forget_truth", "forget_truth_paper", "privleak", "privleak_membership", "over_unlearned",
    ):  # fmt: skip
        assert math.isfinite(row[column]), column
    assert row["privleak"] * row["privleak_membership"] <= 0
    assert "retain@4" not in row  # two samples of a retain prompt
    assert math.isfinite(row["forget_quality"])
    assert math.isnan(row["model_utility"])  # the benchmark has no real authors
    assert rows[0]["excess@4"] is None
    assert row["benchmark_sha256"] == BENCH.fingerprint
    assert row["origin"] == "made here"
    assert row["model_sha256"] != rows[0]["model_sha256"]


@pytest.fixture
def computed(monkeypatch):
    """The names of what is computed, in order: token statistics of a model, and requests to sample."""
    from leakatk.models import token_stats
    from leakatk.sampling.native import NativeSampler

    done = []
    stats, draw = token_stats.token_stats, NativeSampler.sample
    monkeypatch.setattr(token_stats, "token_stats", lambda *a: (done.append("statistics"), stats(*a))[1])
    monkeypatch.setattr(NativeSampler, "sample", lambda self, *a, **k: (done.append("samples"), draw(self, *a, **k))[1])
    return done


def test_nothing_is_computed_twice(models, results, computed, monkeypatch):
    before = r.read_rows(results)
    monkeypatch.setattr("leakatk.bench.cells.audit", lambda *a, **k: computed.append("audit"))
    run(models, results)
    assert computed == []
    assert str(r.read_rows(results)) == str(before)  # as text: NaN is not equal to itself


def test_another_decoding_is_one_cell_more(models, results, computed):
    def cells():
        return {path.name for path in (results / "cells").iterdir()}

    before, files = cells(), {p: p.stat().st_mtime_ns for p in (results / "cells").rglob("*.parquet")}
    run(models, results, decodings=[SHORT, Decoding(temperature=0.5, max_new_tokens=6)])
    new = cells() - before
    assert len(new) == 4  # samples for forget and retain prompts, of two models; the evaluations are shared
    assert all("T-0.5" in name for name in new)
    # Samples of forget and of retain prompts, of two models; their greedy answers are those of the first decoding.
    assert computed == ["samples"] * 4
    assert {p: p.stat().st_mtime_ns for p in files} == files  # the cells that were there are untouched
    rows = r.read_rows(results)
    assert len(rows) == 8
    assert {row["decoding"] for row in rows} == {"T=1 6 tokens", "T=0.5 6 tokens"}
    table = r.results_table(rows, "grid")
    assert table.columns[-2:] == ("T=1 6 tokens", "T=0.5 6 tokens")
    assert len(table.rows) == 4  # two models, two scorers


def test_a_killed_bench_goes_on(models, results, computed, tmp_path, monkeypatch):
    """Stopped after the reference model: its rows are there, and the second run computes the other model alone."""
    real = b.load_model

    def dies(source, **options):
        if "forgot" in str(source):
            raise KeyboardInterrupt
        return real(source, **options)

    monkeypatch.setattr(b, "load_model", dies)
    with pytest.raises(KeyboardInterrupt):
        run(models, tmp_path)
    assert {row["role"] for row in r.read_rows(tmp_path)} == {"retrained"}
    done = computed.count("statistics")
    monkeypatch.setattr(b, "load_model", real)
    run(models, tmp_path)
    assert computed.count("statistics") == done + 1
    wanted = [{k: v for k, v in row.items() if k != "run"} for row in r.read_rows(results) if "T=1" in row["decoding"]]
    found = [{k: v for k, v in row.items() if k != "run"} for row in r.read_rows(tmp_path)]
    assert str([sorted(row.items()) for row in found]) == str([sorted(row.items()) for row in wanted])


def test_ways_of_asking_and_their_worst_case(models, results, tmp_path):
    """Each probe and the worst case have columns of their own; what was sampled without them is not sampled again."""
    rows = run(models, tmp_path, probes=["paraphrase", "context"], grad_norm=False)
    plain = [row for row in r.read_rows(results) if row["decoding"] == "T=1 6 tokens"]
    for row, same in zip(rows, plain, strict=True):
        assert row["leak@4"] == same["leak@4"]
        place = Path(row["run"])
        both = [score(path, row["scorer"]) for path in (place, place / "probes" / "paraphrase")]
        groups = np.stack([both[0], *both[1].reshape(3, -1, 4).transpose(1, 0, 2)])  # ways, prompts, samples
        assert row["probe paraphrase: leak@1"] == pytest.approx(both[1].mean())
        assert row["probe worst case: leak@1"] == pytest.approx(groups.max(axis=0).mean())
        for way in ("probe paraphrase", "probe context", "probe worst case"):
            assert row[f"{way}: leak@4 low"] <= row[f"{way}: leak@4"] <= row[f"{way}: leak@4 high"]
        assert math.isfinite(row["probe context: greedy"])
    asked = [row for row in rows if row["scorer"] == "rouge-l"]
    assert asked[1]["probe paraphrase: excess@4"] == pytest.approx(
        asked[1]["probe paraphrase: leak@4"] - asked[0]["probe paraphrase: leak@4"]
    )
    assert r.layouts_of(rows)[:2] == ["leak", "probes"]
    table = r.results_table(asked, "probes")
    assert table.columns == ("model", "asked", "greedy", "leak@1", "leak@4", "excess@4")
    assert [cells[1] for cells in table.rows] == ["as it stands", "paraphrase", "context *", "worst case"] * 2
    assert "gives the answer away" in table.caption
    with pytest.raises(InputError, match="nothing for the layout 'probes'"):
        r.results_table(plain, "probes")
    for options, words in (({"probes": ["fewshot"]}, "few-shot"), ({"probes": ["role", "role"]}, "given twice")):
        with pytest.raises(InputError, match=words):
            run(models, tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_tables(results):
    rows = r.read_rows(results)[:4:2]
    table = r.results_table(rows)
    assert table.columns == ("model", "greedy", "leak@1", "leak@2", "leak@4", "retain", "retain@1")
    assert table.rows[1][0] == "forgot"
    assert isinstance(table.rows[1][2], Number)
    assert table.rows[1][2].value == rows[1]["leak@1"]
    assert "tiny" in table.title
    turned = transposed(table)
    assert turned.columns == ("", "retrained", "forgot")
    assert [row[0] for row in turned.rows] == list(table.columns[1:])
    assert r.layouts_of(rows) == ["leak", "tofu", "privacy"]
    assert {"forget_truth", "forget_truth_paper"} < set(r.results_table(rows, "tofu").columns)
    assert r.results_table(rows, "utility").columns == ("model", "retain_prob", "retain_rouge", "retain_truth")
    with pytest.raises(InputError, match="nothing for the layout 'muse'"):
        r.results_table([{k: v for k, v in row.items() if k != "privleak"} for row in rows], "muse")
    with pytest.raises(InputError, match="Unknown table layout"):
        r.results_table(rows, "wide")


def test_what_the_numbers_leave_out_stands_under_every_sampled_table():
    row = {
        **dict.fromkeys(r.KEY, "x"), "model": "m", "role": "model", "benchmark": "b", "decoding": "T=1", "scorer": "keys",
        "prompts": 10, "unscored": 2, "sampled_cut": 0.25, "sampled_empty": 0.5, "leak@1": 0.5, "probe role: leak@1": 0.5,
        "excess@1": 0.5, "forget_prob": 0.5,
    }  # fmt: skip
    said = "keys scores 8 of 10 prompts. m, T=1: 25% of the answers cut at the limit, 50% of the answers empty."
    for layout in r.SAMPLED:
        assert r.results_table([row], layout).caption.endswith(said), layout
    assert r.results_table([row], "tofu").caption == "", "no number of it comes from samples"
    whole = {**row, "unscored": 0, "sampled_cut": 0.0, "sampled_empty": 0.0}
    assert r.results_table([whole]).caption == ""
    assert r.not_measured([{**whole, "sampled_empty": 0.5}]) == "m, T=1: 50% of the answers empty."


def test_rows_that_differ_in_length_or_seed_stay_apart(models, results, tmp_path):
    row = next(row for row in r.read_rows(results) if row["role"] == "model")
    other = {**row, "seed": 1, "leak@1": 0.25}
    table = r.results_table([row, other])
    assert [cells[:2] for cells in table.rows] == [("forgot", "0"), ("forgot", "1")]
    assert label_of(Decoding(), PROTOCOLS["clean"]) == "T=1"
    assert label_of(Decoding(max_new_tokens=32), PROTOCOLS["clean"]) == "T=1 32 tokens"


def test_the_layout_shown_first_is_the_grid_where_there_is_one(results):
    rows = r.read_rows(results)
    one = [row for row in rows if row["decoding"] == rows[0]["decoding"]]
    assert r.default_layout(one) == "leak"
    assert r.default_layout([*one, {**one[0], "decoding": "T=0.5"}]) == "grid"


def test_compare_is_paired(results):
    runs = {row["role"]: row["run"] for row in r.read_rows(results)[:4]}
    table = r.compare(runs["model"], runs["retrained"], scorer="rouge-l")
    assert [r[0] for r in table.rows] == ["1", "2", "4"]
    for cells in table.rows:
        assert cells[3].value == pytest.approx(cells[1].value - cells[2].value)
    same = r.compare(runs["model"], runs["model"], scorer="rouge-l")
    assert all(cells[3].value == 0 for cells in same.rows)


def test_the_headline_of_a_report_is_not_the_yardsticks(results):
    from leakatk.report.assemble import content_of
    from leakatk.report.audited import read_audits

    runs = {row["role"]: row["run"] for row in r.read_rows(results)[:4]}
    content = content_of(read_audits([runs["retrained"], runs["model"]]))
    assert content.verdict.startswith("forgot leaks")
    assert content_of(read_audits([runs["retrained"]])).verdict.startswith("retrained leaks")


def test_command_line(results):
    runner = CliRunner()
    for style, mark in (("markdown", "| model |"), ("latex", "tabular"), ("csv", "model,"), ("terminal", "leak@1")):
        shown = runner.invoke(app, ["table", str(results), "--layout", "leak", "--style", style])
        assert shown.exit_code == 0, shown.output
        assert mark in shown.output
    assert isinstance(runner.invoke(app, ["table", str(results), "--style", "pdf"]).exception, InputError)
    narrow = runner.invoke(app, ["table", str(results), "--layout", "leak"], env={"COLUMNS": "30"})
    assert "Intervals are left out" in narrow.output
    wide = runner.invoke(app, ["table", str(results), "--layout", "leak"], env={"COLUMNS": "300"})
    assert "left out" not in wide.output
    WORLD.export(results / "w")
    shown = runner.invoke(app, ["benchmark", "check", str(results / "w" / "forget.jsonl")])
    assert shown.exit_code == 0
    assert "6 prompts" in shown.output
    assert "paper" in runner.invoke(app, ["protocols"]).output


@pytest.mark.parametrize(("columns", "turned", "intervals"), [(200, False, True), (100, True, True), (32, True, False)])
def test_the_terminal_table_takes_the_form_that_fits(monkeypatch, capsys, columns, turned, intervals):
    from leakatk.cli.bench import show

    monkeypatch.setenv("COLUMNS", str(columns))
    numbers = tuple(Number(0.5, 0.4, 0.6) for _ in range(8))
    show(Table("t", ("model", *(f"leak@{2**i}" for i in range(8))), (("one", *numbers), ("two", *numbers))), "terminal")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= columns
    assert ("leak@1 " in shown.splitlines()[1] or "leak@1 " in shown.splitlines()[2]) is not turned
    assert ("[0.40, 0.60]" in shown) is intervals


def test_a_table_too_wide_in_every_form_becomes_one_for_each_model(monkeypatch, capsys):
    from leakatk.cli.bench import show

    monkeypatch.setenv("COLUMNS", "80")
    numbers = tuple(Number(0.5, 0.4, 0.6) for _ in range(5))
    ways = ("as it stands", "paraphrase", "worst case")
    rows = tuple((m, s, w, *numbers) for m in ("retrained", "forgot") for s in ("fact", "rouge-l") for w in ways)
    show(Table("t", ("model", "scorer", "asked", *(f"leak@{4**i}" for i in range(5))), rows, "The end."), "terminal")
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for words in ("t: retrained", "t: forgot", "as it stands", "paraphrase", "leak@256", "rouge-l"):
        assert words in shown  # whole, on one line
    assert shown.count("The end.") == 1


def test_refused_before_any_work(models, tmp_path):
    for options, kind, words in (
        ({"protocol": "papr"}, UnknownNameError, "paper"),
        ({"scorer": "rouge"}, UnknownNameError, "rouge-l"),
        ({"n": 0}, InputError, "at least 1"),
    ):
        with pytest.raises(kind, match=words):
            run(models, tmp_path, **options)
    with pytest.raises(UnknownNameError, match="tofu/forget10"):
        b.bench(models / "forgot", "tofu/forget1", out=tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="leakatk bench"):
        r.read_rows(tmp_path)
    (tmp_path / "results.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match="not a readable results file"):
        r.read_rows(tmp_path)
    write_table(
        pyarrow.Table.from_pylist([{"model": "m", "text": "a run's generations"}]), tmp_path / "results.parquet"
    )
    with pytest.raises(InputError, match="no results file of `leakatk bench`: it has no column model_sha256"):
        run(models, tmp_path)


def test_a_scorer_whose_model_is_out_of_reach_is_refused_at_once(models, tmp_path):
    with pytest.raises(ModelError, match="NLI model"):
        run(models, tmp_path, scorer=f"entailment:model={tmp_path / 'none'}")
    assert not list(tmp_path.iterdir())


def test_wmdp_and_muse_go_the_whole_way(models, data_dir, tmp_path):
    options = {"n": 2, "decodings": [SHORT], "quiet": True, "device": "cpu", "out": tmp_path}
    [row] = b.bench(models / "forgot", "wmdp/cyber", data=data_dir / "wmdp", **options)
    assert row["scorer"] == "choice"
    assert row["accuracy low"] < 0.25 < row["accuracy high"]
    small = few_of("muse/news", data_dir)
    rows = b.bench(models / "forgot", small, retrained=models / "retrained", **options)
    assert rows[1]["scorer"] == "rouge-l:stem=no"
    assert math.isfinite(rows[1]["verbmem"])
    assert math.isfinite(rows[1]["privleak"])
    assert {row["benchmark"] for row in r.read_rows(tmp_path)} == {"wmdp/cyber", "muse/news"}
    assert r.layouts_of(rows) == ["leak", "privacy", "muse"]


def test_open_questions_with_a_judge(models, data_dir, tmp_path, judge_server, monkeypatch):
    """Without a key nothing is sampled; with a judge the whole row is there, and its replies are kept."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    options = {
        "data": data_dir / "wmdp",
        "n": 2,
        "decodings": [SHORT],
        "quiet": True,
        "device": "cpu",
        "grad_norm": False,
    }
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        b.bench(models / "forgot", "wmdp/cyber:open", out=tmp_path, protocol="paper", **options)
    assert not list(tmp_path.glob("cells/*/manifest.json"))
    [row] = b.bench(
        models / "forgot", "wmdp/cyber:open", out=tmp_path, scorer=f"judge:base_url={judge_server.url}", **options
    )
    assert row["scorer"].startswith("judge")
    assert 0 <= row["leak@1"] <= row["leak@2"] <= 1
    assert judge_server.items


def test_the_retrained_model_under_its_former_name(models, results):
    before = r.read_rows(results)
    rows = run(models, results, retrained=None, reference=models / "retrained")
    assert [row["role"] for row in rows] == ["retrained", "retrained", "model", "model"]
    assert str(r.read_rows(results)) == str(before)
    with pytest.raises(InputError, match="once"):
        run(models, results, reference=models / "retrained")
