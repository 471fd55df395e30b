"""History of a model: which audits form a row, in which order, with which steps."""

import json
import shutil
from dataclasses import replace

import pytest

from leakatk.files.writing import write_kept
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.differences import differences
from leakatk.report.history import histories
from leakatk.report.html import render
from tests.report.audits import made

DAYS = {"march": ("2026-03-05", 6), "january": ("2026-01-20", 4), "may": ("2026-05-01", 0)}


def dated(path, day, hour=10):
    manifest = json.loads((path / "manifest.json").read_text())
    write_kept(
        path / "manifest.json", json.dumps(manifest | {"created": f"{day}T{hour:02}:00:00+00:00"}, indent=1) + "\n"
    )
    return path


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """The directories of three audits of one label, not in the order of their days."""
    place = tmp_path_factory.mktemp("history")
    for name, (_, leaking) in DAYS.items():
        made(place / name, leaking=leaking, n=8, ks=[1, 4], scorers=["fact"], label="chat")
    return [dated(place / name, day) for name, (day, _) in DAYS.items()]


def test_audits_of_one_label_are_put_in_the_order_of_their_days(places):
    [history] = content_of(read_audits(places)).histories
    assert [(moment.when, moment.label) for moment in history.moments] == [
        ("2026-01-20", "chat (january)"),
        ("2026-03-05", "chat (march)"),
        ("2026-05-01", "chat (may)"),
    ]
    values = {one.own + Name: one for Name, one in zip(DAYS, read_audits(places), strict=True)}
    for moment, name in zip(history.moments, ("january", "march", "may"), strict=True):
        assert moment.value.value == values["chat" + name].results.scorers["fact"].curves["samples"].value[1]
    assert (history.title, history.k) == ("chat over time", 4)


def test_each_step_is_paired_with_the_audit_before_and_all_hold_together(places):
    march, january, may = read_audits(places)
    [history] = histories([march, january, may], "samples", 4)
    steps = [row[3] for row in history.table.rows]
    assert steps[0] == ""
    for step, (new, old) in zip(steps[1:], ((march, january), (may, march)), strict=True):
        wanted = differences(new, old, [4], scorer="fact", level=0.975)[0]
        assert (step.value, step.low, step.high) == pytest.approx((wanted.value, wanted.low, wanted.high))
    assert steps[1].value > 0 > steps[2].value, "mutant: steps from the first alone have one sign less"
    whole = differences(may, january, [4], scorer="fact")[0]
    assert history.notes == (f"leak@4 from 2026-01-20 to 2026-05-01: {whole.words}.",)


def test_one_day_is_no_history_and_a_yardstick_no_part_of_it(places, tmp_path):
    march, january, may = read_audits(places)
    assert histories([march], "samples", 4) == ()
    same = dated(shutil.copytree(places[0], tmp_path / "same"), "2026-03-05", hour=23)
    assert histories(read_audits([places[0], same]), "samples", 4) == ()
    never = replace(january, results=replace(january.results, role="retrained"))
    [history] = histories([march, never, may], "samples", 4)
    assert [moment.when for moment in history.moments] == ["2026-03-05", "2026-05-01"]


def test_runs_of_other_names_are_a_row_only_when_asked(places):
    audits = [replace(one, own=f"v{i}") for i, one in enumerate(read_audits(places))]
    assert histories(audits, "samples", 4) == ()
    [history] = histories(audits, "samples", 4, together=True)
    assert len(history.moments) == 3
    assert history.title == "The model over time"


def test_what_cannot_be_put_in_a_row_is_refused(leakatk, places, tmp_path):
    code, _, err = leakatk("report", places[0], "--history", "--out", tmp_path / "page.html")
    assert (code, "--history needs audits of two days or more" in err) == (2, True)
    from tests.auditing.scripted import PROMPTS

    made(tmp_path / "fewer", n=8, ks=[1, 4], scorers=["fact"], prompts=PROMPTS[:5])
    code, _, err = leakatk("report", places[0], tmp_path / "fewer", "--history", "--out", tmp_path / "page.html")
    assert (code, "were not asked the same prompts" in err) == (2, True)
    assert not (tmp_path / "page.html").exists()


def test_the_page_draws_it(places):
    page = render(content_of(read_audits(places)))
    assert page.count("chat over time</h2>") == 1
    assert page.count("leak@4 by date: chat over time") == 2, "for a wide screen and for a narrow one"
