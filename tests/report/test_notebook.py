"""Results and reports in a notebook: what they show is numbers, what they draw is on matplotlib's axes, what they save is the page."""

import json
from dataclasses import replace

import pytest

import leakatk as lk
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.html import render
from leakatk.report.notebook import Report, Results, report
from leakatk.runs.store import Run
from tests.auditing.scripted import LEAK, audited
from tests.report.browsers import stand_in
from tests.report.hostile import HOSTILE, hostile_report
from tests.report.test_html import Page


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return audited(
        lambda prompt, j, greedy: LEAK if j % 2 else "No.", tmp_path_factory.mktemp("notebook"), n=16, label="m"
    )


def test_what_an_audit_returns_is_still_the_dictionary_on_disk(results):
    assert isinstance(results, Results)
    assert json.loads((results.path / "results.json").read_text()) == json.loads(json.dumps(results))
    assert results.typed.label == results["label"] == "m"


def test_results_show_headline_gate_and_every_number(results):
    page = Page(results._repr_html_())
    curve = results["scorers"]["fact"]["curves"]["samples"]
    assert "FAIL: at most 10% may leak within 16 tries" in page.words
    assert "m leaks 100% of 10 forget prompts within 16 samples" in page.words
    rows = [(row[0], int(row[1]), row[2].value, row[2].low, row[2].high) for row in results.table().rows]
    wanted = zip(curve["k"], curve["value"], curve["low"], curve["high"], strict=True)
    assert [row[1:] for row in rows if row[0] == "fact"] == list(wanted)
    assert results.table("prompts").rows != results.table().rows


def test_a_report_shows_no_text_of_a_model_and_saves_them_all(results, tmp_path, monkeypatch):
    found = results.report()
    shown = found._repr_html_()
    assert "m leaks 100% of 10 forget prompts" in shown
    assert "<svg" in shown
    assert "gate: at most 10%" in shown
    assert "Zorvik" not in shown
    assert found.tables == content_of(read_audits([results.path])).tables
    page = found.save(tmp_path / "page.html").read_text(encoding="utf-8")
    assert page == render(found.content)
    assert "Zorvik" in page
    stand_in(tmp_path, monkeypatch)
    assert found.save(tmp_path / "page.pdf").read_text(encoding="utf-8") == page
    assert "Zorvik" not in render(results.report(hash_ids=True).content)


def test_runs_are_named_in_any_way(results):
    ways = (results.path, str(results.path), Run.open(results.path), results)
    assert len({report(way).content.verdict for way in ways}) == 1
    assert lk.report(results.path, over="prompts").content.conditions.count("over prompts") == 1


def test_nothing_hostile_becomes_markup():
    harmless, hostile = (Page(Report(hostile_report(put))._repr_html_()) for put in (lambda _: "x", lambda text: text))
    assert [tag for tag, _ in hostile.tags] == [tag for tag, _ in harmless.tags]
    text = Report(hostile_report(lambda text: text))._repr_html_()
    assert not any(bad in text for bad in HOSTILE[:4])


def test_plots_are_drawn_on_given_or_new_axes(results):
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed (extra: plots)")
    mine = pyplot.subplots()[1]
    assert results.plot(mine) is mine
    curve = results["scorers"]["fact"]["curves"]["samples"]
    assert list(mine.lines[0].get_xdata()) == curve["k"]
    assert list(mine.lines[0].get_ydata()) == curve["value"]
    assert mine.lines[0].get_label() == "m, fact"
    drawn = results.report().plot()
    content = replace(results.report().content, threshold=0.25)
    assert [list(line.get_ydata()) for line in Report(content).plot().lines].count([0.25, 0.25]) == 1
    assert any(list(line.get_ydata()) == curve["value"] for line in drawn.lines)
    pyplot.close("all")
