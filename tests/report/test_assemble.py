"""From audited runs to one report: what is told in full, what is beside it, and nothing twice."""

import json
import shutil

from leakatk.auditing.audit import audit
from leakatk.files.writing import write_kept
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.html import render
from leakatk.report.rounds import rounds_table
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, audited
from tests.tiny import PROMPTS


def test_a_few_models_are_all_told_and_the_yardstick_last(runs, tmp_path):
    """A run that another was measured against is a yardstick wherever it stands, and drawn once."""
    decoding = Decoding(max_new_tokens=4)
    audit(
        runs[3].parent / "other", PROMPTS, out=tmp_path / "a", n=4, decoding=decoding, scorers=["rouge-l"],
        reference=runs[2], quiet=True,
    )  # fmt: skip
    content = content_of(read_audits([runs[2], tmp_path / "a"]))
    kinds = {curve.label: curve.kind for curve in content.curves if curve.kind in ("model", "reference")}
    assert kinds == {"model": "reference", "other": "model"}
    assert content.verdict.startswith("other leaks ")
    assert "% of the forget prompts within 4 samples (95% interval " in content.verdict
    assert "; model 25% (" in content.verdict
    assert [light.label for light in content.highlights] == ["other: leak@4", "model: leak@4"]
    assert ["verbatim@k: exact" in table.caption for table in content.tables[:2]] == [
        False,
        True,
    ]  # where its columns are
    [curve] = [c for c in content_of(read_audits([tmp_path / "a"])).curves if c.kind == "reference"]
    assert curve.label == "reference"  # alone, the audit brings its reference along


def test_a_record_of_rounds_is_shown(runs, tmp_path):
    record = {
        "rounds": [{"round": 1, "leak": 0.25, "high": None, "added": 7, "steps": 20}],
        "verdict": "all rounds done", "chosen": 1, "steps": 20,
    }  # fmt: skip
    assert rounds_table(tmp_path / "rounds.json", "m") is None
    path = runs[3] / "rounds.json"
    write_kept(path, json.dumps(record))
    [table] = content_of(read_audits(runs[3:])).rounds
    path.unlink()
    assert [str(cell) for cell in table.rows[0]] == ["1", "0.250", "–", "7", "20"]
    assert table.caption == "Ended: all rounds done."


def test_benchmark_results_stand_for_their_runs(runs, tmp_path):
    from leakatk.bench.results import write_rows
    from leakatk.cli.report import opened

    for run in runs[2:]:
        shutil.copytree(run, tmp_path / "cells" / run.name)
    row = {
        "model": "other",
        "role": "model",
        "model_sha256": "x",
        "benchmark": "b",
        "benchmark_sha256": "y",
        "protocol": "clean",
    }
    row |= {"decoding": "T=1", "seed": 0, "scorer": "rouge-l", "leak@1": 0.1, "forget_prob": 0.25}
    write_rows(tmp_path / "results.parquet", [row])
    places, tables = opened([tmp_path, runs[0]])
    assert [place.name for place in places] == [*sorted(run.name for run in runs[2:]), runs[0].name]
    [table] = tables
    assert "0.250" in [str(cell) for cell in table.rows[0]]
    content = content_of(read_audits(places), tables=tables)
    assert table in content.tables


def test_the_verdict_stands_in_the_report_with_its_threshold(tmp_path):
    audited(lambda *_: (CLEAN, "length", ""), tmp_path)
    [one] = read_audits([tmp_path / "run"])
    content = content_of([one])
    page = render(content)
    assert '<p class="gate cannot-say"><b>CANNOT SAY</b>' in page
    assert "gate: at most 10%" in page
    assert content.headline_k == 16
    assert any("were cut at 40 tokens" in note for note in content.notes)
    kept = json.loads((tmp_path / "run" / "results.json").read_text())["gate"]
    assert kept["reason"] in page
