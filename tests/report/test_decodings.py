"""Several decodings of one model become a heat map; benchmark results bring their tables; RULE's record is shown."""

import json
import math
import shutil

import pytest

from leakatk.auditing.audit import audit
from leakatk.files.writing import write_kept
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.decodings import decoding_grids, most_open
from leakatk.report.rounds import rounds_table
from leakatk.sampling.decoding import Decoding
from tests.tiny import PROMPTS, save_tiny_model

GRID = {(0.0, 1.0): None, (0.5, 0.5): None, (1.0, 1.0): None}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """One model at greedy, (.5, .5) and (1, 1), another at (1, 1): scores are set by hand afterwards."""
    place = tmp_path_factory.mktemp("runs")
    model, other = save_tiny_model(place / "model"), save_tiny_model(place / "other", seed=1)
    found = []
    for source, temperature, top_p in ((model, 0.0, 1.0), (model, 0.5, 0.5), (model, 1.0, 1.0), (other, 1.0, 1.0)):
        out = place / f"{source.name}-{temperature}-{top_p}"
        decoding = Decoding(temperature=temperature, top_p=top_p, max_new_tokens=4)
        audit(source, PROMPTS, out=out, n=4, decoding=decoding, scorers=["rouge-l"], quiet=True)
        results = json.loads((out / "results.json").read_text())
        curve = results["scorers"]["rouge-l"]["curves"]["samples"]
        curve["value"] = [temperature * top_p / k for k in curve["k"]]  # numbers that tell the cells apart
        write_kept(out / "results.json", json.dumps(results))
        found.append(out)
    return found


def test_each_decoding_is_a_cell(runs):
    [grid] = decoding_grids(read_audits(runs), "rouge-l", 4)
    assert grid.rows == ("0 (greedy)", "0.5", "1")
    assert grid.columns == ("–", "0.5", "1")
    assert [[None if math.isnan(v) else v for v in row] for row in grid.values] == [
        [0.0, None, None],
        [None, 0.0625, None],
        [None, None, 0.25],
    ]
    assert decoding_grids(read_audits(runs[2:]), "rouge-l", 4) == ()


def test_the_most_open_decoding_is_told_in_full(runs):
    audits = read_audits(runs)
    assert [audited.run.path for audited in most_open(audits)] == runs[2:]
    content = content_of(audits)
    assert len(content.tables[0].rows) == 4
    assert len({view.model for view in content.prompts}) == 2
    assert [curve.label for curve in content.curves if curve.kind == "model"] == [a.label for a in audits[2:]]
    assert "T=0.5" in audits[1].label, "runs of one name are told apart by their decoding"


def test_runs_of_one_decoding_are_all_told(runs):
    twice = [*read_audits(runs[2:3]), *read_audits(runs[2:3])]
    assert len(most_open(twice)) == 2


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
