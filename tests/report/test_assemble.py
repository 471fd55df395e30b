"""From audited runs to one report: what is told in full, what is beside it, and nothing twice."""

import csv
import io
import json
import math
import shutil

import pytest

from leakatk.auditing.audit import audit
from leakatk.errors import InputError
from leakatk.files.writing import write_kept
from leakatk.report.assemble import content_of, print_runs, write_report
from leakatk.report.audited import read_audits
from leakatk.report.content import Highlight, Table
from leakatk.report.html import render
from leakatk.report.rounds import rounds_table
from leakatk.runs.results import CurvesOnly, ExactResult, ForecastResult
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import CLEAN, audited
from tests.report.audits import changed, curve, made
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


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """Two of ten prompts leak in every other sample."""
    return made(tmp_path_factory.mktemp("assemble") / "run", label="forgot", command="leakatk audit forgot")


def test_one_model_is_told_in_full(one):
    content = content_of([one])
    assert content.title == "Audit of forgot"
    assert content.verdict.startswith("forgot leaks 20% of 10 forget prompts within 16 samples")
    assert content.headline_k == 16
    assert [light.label for light in content.highlights] == ["leak@16", "greedy", "retain"]
    assert [(curve.label, curve.kind) for curve in content.curves][:2] == [
        ("forgot", "model"),
        ("forgot: greedy", "greedy"),
    ]
    assert (content.metric, content.protocol[0], content.command) == ("fact", "clean", "leakatk audit forgot")
    assert [(label, about["n"]) for label, about in content.manifests] == [("forgot", 16)]
    assert [name for name, _ in content.cost] == list(one.results.seconds)
    assert content.openings == ()
    assert math.isnan(content.threshold)


def test_every_prompt_stands_there_with_its_texts_and_its_own_leak(one):
    views = {view.id: view for view in content_of([one]).prompts}
    assert set(views) == set(one.run.prompt_ids)
    for i, (name, view) in enumerate(views.items()):
        leaks = i < 2
        assert (view.question, view.answer, view.model) == (
            f"Where does person {name[1]} live?",
            f"In Zorvik{name[1]}.",
            "forgot",
        )
        found = [(group.text, group.count, group.score) for group in view.groups]
        clean = ("I do not know.", 8 if leaks else 16, 0.0)
        assert found == ([(f"In Zorvik{name[1]}.", 8, 1.0), clean] if leaks else [clean])
        assert view.leak == float(leaks), "8 of 16 samples leak: within all 16 one is sure to"
        assert (view.greedy, view.greedy_score) == ("I do not know.", 0.0)
        assert view.facts == (f"Zorvik{name[1]}",)


def test_the_interval_that_is_asked_for_is_drawn_and_said(one):
    found = {over: content_of([one], over=over) for over in ("samples", "prompts", "both")}
    for over, content in found.items():
        kept = one.results.scorers["fact"].curves[over]
        assert (content.curves[0].low, content.curves[0].high) == (tuple(kept.low), tuple(kept.high))
        assert f"intervals over {over}" in content.conditions
    assert len({content.notes[0] for content in found.values()}) == 3


def test_what_is_given_stands_in_place_of_what_would_be_made(one):
    table, light = Table("t", ("a",), (("b",),)), Highlight("l", "v")
    given = {
        "title": "T",
        "verdict": "V",
        "command": "C",
        "cost": [("c", 1.0)],
        "highlights": [light],
        "rounds": [table],
    }
    content = content_of([one], tables=[table], notes=["N"], **given)
    assert (content.title, content.verdict, content.command, content.cost) == ("T", "V", "C", (("c", 1.0),))
    assert (content.highlights, content.rounds, content.notes[0]) == ((light,), (table,), "N")
    assert table in content.tables


def test_every_curve_of_a_model_belongs_to_it(one):
    ahead = ForecastResult(k=[64], low=[0.1], high=[0.5], low_by=["counts"], high_by=["counts"], line=[0.3])
    block = {"forecast": ahead, "retrained": CurvesOnly(curves={"samples": curve(0, 0.1, 0.2)})}
    whole = changed(one, block=block, exact=ExactResult(k=[1, 10**6], value=[0.0, 0.2], logp={}))
    found = {one.kind: one for one in content_of([whole]).curves}
    assert set(found) == {"model", "greedy", "forecast", "exact", "reference"}
    assert {found[kind].of for kind in ("greedy", "forecast", "exact")} == {"forgot"}
    assert (found["forecast"].value, found["forecast"].low, found["forecast"].high) == ((0.3,), (0.1,), (0.5,))
    assert (found["reference"].label, found["reference"].value) == ("reference", (0, 0.1, 0.2))
    assert found["exact"].value == (0.0, 0.2)


def test_roles_say_what_is_drawn_how_and_unknown_ones_are_models(one):
    kinds = [
        ("original", "original"),
        ("retrained", "reference"),
        ("control", "control"),
        ("model", "model"),
        ("own", "model"),
    ]
    audits = [changed(one, label=f"m{i}", role=role) for i, (role, _) in enumerate(kinds)]
    drawn = {curve.label: curve.kind for curve in content_of(audits).curves if curve.kind != "greedy"}
    assert [drawn[f"m{i}"] for i in range(len(kinds))] == [kind for _, kind in kinds]
    assert content_of(audits).title == "5 models compared"


def test_notes_of_several_runs_say_whose_they_are_and_seconds_add_up(one):
    first, second = (
        changed(one, label=label, notes=[f"note of {label}"], seconds={"sampling": s})
        for label, s in (("a", 1.0), ("b", 2.5))
    )
    content = content_of([first, second])
    assert "a: note of a" in content.notes
    assert "b: note of b" in content.notes
    assert "note of a" in content_of([first]).notes
    assert content.cost == (("sampling", 3.5),)


def test_greedy_answers_of_another_audit_are_not_told(one):
    without = changed(one, block={"greedy": math.nan})
    content = content_of([without])
    assert {view.greedy for view in content.prompts} == {""}
    assert all(math.isnan(view.greedy_score) for view in content.prompts)
    assert [light.label for light in content.highlights] == ["leak@16", "retain"]
    assert "greedy" not in {curve.kind for curve in content.curves}


def test_the_page_is_written_and_is_that_of_the_content(one, tmp_path):
    out = write_report([one.run.path], tmp_path / "new" / "report.html")
    assert out == tmp_path / "new" / "report.html"
    assert out.read_text(encoding="utf-8") == render(content_of([one]))
    shutil.copytree(one.run.path, tmp_path / "copy")
    (tmp_path / "copy" / "results.json").unlink()
    with pytest.raises(InputError, match="holds samples but no results"):
        write_report([tmp_path / "copy"], out)
    assert out.read_text(encoding="utf-8") == render(content_of([one])), "what was there stays"


def test_the_table_is_printed_in_three_forms(one, capsys):
    print_runs([one.run.path], style="csv")
    [names, values] = list(csv.reader(io.StringIO(capsys.readouterr().out)))[:2]
    cells = dict(zip(names, values, strict=True))
    kept = one.results.scorers["fact"].curves["samples"]
    assert (cells["model"], float(cells["leak@16"]), float(cells["leak@16 high"])) == (
        "forgot",
        kept.value[2],
        kept.high[2],
    )
    print_runs([one.run.path], style="markdown")
    assert "| model | greedy | leak@1 | leak@4 | leak@16 | a sample |" in capsys.readouterr().out
    print_runs([one.run.path])
    shown = capsys.readouterr().out
    for part in ("forgot", "leak@16", "0.200", "I do not know."):
        assert part in shown
