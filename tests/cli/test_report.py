"""leakatk report: where the page goes, what is printed, and what stands for what."""

import csv
import io
import json
import shutil

import pytest

from leakatk.auditing.audit import audit
from leakatk.bench.results import layouts_of, read_rows
from leakatk.cli.report import opened
from tests.faults.test_fuzz_inputs import Says
from tests.report.browsers import stand_in
from tests.tiny import PROMPTS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    place = tmp_path_factory.mktemp("audited") / "run"
    audit(Says(), PROMPTS, out=place, n=4, quiet=True, scorers=["rouge-l"])
    return place


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    from leakatk.bench.bench import bench
    from tests.bench.conftest import BENCH, SHORT
    from tests.tiny import save_tiny_model

    folder = tmp_path_factory.mktemp("bench")
    model = save_tiny_model(folder / "forgot")
    bench(
        model,
        BENCH,
        out=folder / "results",
        n=2,
        retain_n=0,
        decodings=[SHORT],
        grad_norm=False,
        quiet=True,
        device="cpu",
    )
    return folder / "results"


def test_the_page_lies_in_the_first_directory_unless_told(leakatk, run, made, tmp_path):
    code, _, err = leakatk("report", run)
    assert code == 0, err
    assert err == f"Report: {run / 'report.html'}\n"
    assert (run / "report.html").read_text().startswith("<!doctype html>")
    (run / "report.html").unlink()
    code, _, err = leakatk("report", run, "--out", tmp_path / "page.html")
    assert (code, err) == (0, f"Report: {tmp_path / 'page.html'}\n")
    assert not (run / "report.html").exists()


def test_what_is_printed_is_the_same_in_every_form(leakatk, run):
    value = json.loads((run / "results.json").read_text())["scorers"]["rouge-l"]["curves"]["samples"]["value"]
    code, out, _ = leakatk("report", run, "--json")
    assert code == 0
    shown = json.loads(out)
    assert shown["metric"] == "rouge-l"
    assert any(curve["value"] == pytest.approx(value) for curve in shown["curves"])
    header, row = list(csv.reader(io.StringIO(leakatk("report", run, "--csv")[1])))[:2]
    cells = dict(zip(header, row, strict=True))
    assert [float(cells["leak@1"]), float(cells["leak@4"])] == pytest.approx([value[0], value[-1]])
    top = next(line for line in leakatk("report", run, "--md")[1].splitlines() if line.startswith("|"))
    shown = [cell.strip() for cell in top.strip("|").split("|")]
    assert shown == [name for name in header if not name.endswith((" low", " high"))], "intervals stand in their cells"


@pytest.mark.parametrize(
    "forms", [("--json", "--md"), ("--json", "--csv"), ("--md", "--csv"), ("--json", "--md", "--csv")]
)
def test_one_form_at_a_time(leakatk, run, forms):
    code, _, err = leakatk("report", run, *forms)
    assert (code, "Give one of --json, --md and --csv" in err) == (2, True)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("option", ["svg", "png", "chart-pdf", "pdf"])
def test_a_file_whose_name_says_another_kind_is_refused_before_anything(leakatk, run, tmp_path, monkeypatch, option):
    stand_in(tmp_path, monkeypatch)
    kind = option[-3:]
    wrong = tmp_path / f"curve.{kind}x"
    code, _, err = leakatk("report", run, f"--{option}", wrong)
    assert (code, f"the file must end in .{kind}" in err) == (2, True)
    assert not wrong.exists()
    assert not (run / "report.html").exists()
    right = tmp_path / f"curve.{kind.upper()}"
    code, _, err = leakatk("report", run, f"--{option}", right)
    assert code == 0, err
    assert right.stat().st_size > 1000


def test_without_a_browser_nothing_is_written(leakatk, run, tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKATK_BROWSER", "no-such-program")
    code, out, err = leakatk("report", run, "--pdf", tmp_path / "report.pdf")
    assert (code, out, "which is no program here" in err) == (2, "", True)
    assert not (run / "report.html").exists()


def test_the_whole_report_is_what_is_printed(leakatk, run, tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch)
    code, _, err = leakatk("report", run, "--pdf", tmp_path / "report.pdf", "--csv")
    assert (code, err) == (0, f"Report: {run / 'report.html'} and {tmp_path / 'report.pdf'}\n")
    assert (tmp_path / "report.pdf").read_bytes() == (run / "report.html").read_bytes()


def test_results_of_a_bench_stand_for_their_runs_and_their_tables(bench, run):
    places, tables = opened([run, bench])
    assert places == [run, *sorted(path.parent for path in bench.glob("cells/*/results.json"))]
    assert len(places) > 1
    layouts = [layout for layout in layouts_of(read_rows(bench)) if layout not in ("leak", "probes")]
    assert len(tables) == len(layouts) > 0
    assert opened([run]) == ([run], [])


def test_a_report_of_a_bench_has_its_numbers(leakatk, bench, tmp_path):
    code, out, err = leakatk("report", bench, "--out", tmp_path / "page.html")
    assert code == 0, err
    assert "forgot" in out
    assert "forget_prob" in (tmp_path / "page.html").read_text()
