"""leakatk sweep as it is typed, on tiny models: its tables against the rows, a cell that fails, a dry run that writes nothing."""

import contextlib
import csv
import io
import json
import statistics
import sys
from pathlib import Path

import pytest

from leakatk.bench.results import read_rows
from leakatk.cli import sweep_run
from leakatk.cli.main import main
from leakatk.prompts import save_prompts
from tests.tiny import PROMPTS


def in_this_process(words, log, env):
    """What `run_words` does, without the seconds that a new process takes to begin."""
    before, text = sys.argv, io.StringIO()
    sys.argv = ["leakatk", *words]
    try:
        with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
            main()
    except SystemExit as stop:
        return stop.code or 0
    finally:
        sys.argv = before
        log.write_text(text.getvalue())
    return 0


@pytest.fixture
def config(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep_run, "run_words", in_this_process)
    bench = tmp_path / "bench"
    bench.mkdir()
    save_prompts(PROMPTS[:2], bench / "forget.jsonl")
    save_prompts(PROMPTS[2:], bench / "retain.jsonl")
    path = tmp_path / "s.toml"
    path.write_text(
        f"""
        methods = ["ga", "npo:beta=0.2"]
        seeds = [0, 1]
        [models.tiny]
        model = "{model}"
        retrained = "{model}"
        benchmark = "{bench}"
        [unlearn]
        steps = 1
        batch = 2
        lr = 1e-3
        [bench]
        n = 2
        retain-n = 0
        grad-norm = false
        decoding = "max_new_tokens=4"
        """
    )
    return path


def test_a_sweep(leakatk, config, tmp_path):
    code, out, err = leakatk("sweep", config, "--out", tmp_path / "out", "--json")
    assert code == 0, err
    done = json.loads(out)
    assert done["counts"] == {"done": 6}
    assert [(cell["label"], cell["seed"]) for cell in done["cells"]] == [
        (label, seed) for seed in (0, 1) for label in ("original", "ga", "npo:beta=0.2")
    ]
    rows = [row for row in read_rows(tmp_path / "out" / "results") if row["scorer"] == "rouge-l"]
    assert {(row["label"], row["role"]) for row in rows} == {
        ("", "retrained"), ("original", "original"), ("ga", "model"), ("npo:beta=0.2", "model"),
    }  # fmt: skip
    [file] = [path for path in done["tables"] if path.endswith("/leak.csv")]
    with Path(file).open() as opened:
        table = list(csv.DictReader(opened))
    shown = next(line for line in table if line["model"] == "ga" and line["scorer"] == "rouge-l")
    values = [row["leak@2"] for row in rows if row["label"] == "ga"]
    assert len(values) == 2
    assert float(shown["leak@2"]) == pytest.approx(statistics.mean(values))
    assert float(shown["leak@2 sd"]) == pytest.approx(statistics.stdev(values), abs=1e-12)
    assert "over seeds 0, 1" in (tmp_path / "out" / "tables" / "leak.md").read_text()
    assert r"\toprule" in (tmp_path / "out" / "tables" / "leak.tex").read_text()
    # Again, and one method more: nothing is run twice, and what fails is counted, named and told.
    log = next((tmp_path / "out" / "tasks").glob("tiny-ga-seed-0-*")) / "log.txt"
    before = log.stat().st_mtime_ns
    config.write_text(config.read_text().replace('"ga",', '"ga", "npo > rule:wordings=3",'))
    code, out, err = leakatk("sweep", config, "--out", tmp_path / "out")
    assert code == 2
    assert "Cells: 6 done, 2 failed, of 8." in out
    assert "npo > rule:wordings=3, seed 1: failed, exit code 2, bad input: " in err
    assert "--wordings 3 needs other wordings" in err
    assert "2 of 8 cells are not done" in err
    assert log.stat().st_mtime_ns == before
    code, out, _ = leakatk("table", tmp_path / "out" / "results", "--over-seeds", "--style", "markdown")
    assert code == 0
    assert " ± " in out


def test_a_dry_run_counts_and_writes_nothing(leakatk, config, tmp_path):
    code, out, err = leakatk("sweep", config, "--out", tmp_path / "out", "--dry-run")
    assert code == 0, err
    assert "6 cells, 0 done. Would run 10 commands" in out
    assert "could not be timed" not in out
    assert "ga, seed 1: to be run" in out
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "Give --out DIR"),
        (("--out", "o", "--gpus", "a"), "numbers separated by commas"),
        (("--out", "o", "--jobs", "0"), "--jobs"),
    ],
)
def test_what_is_wrong_is_said(leakatk, config, words, said):
    code, _, err = leakatk("sweep", config, *words)
    assert code == 2
    assert said in err
