"""Training curves: points as the record has them, long ones as means of parts, and every line on the page."""

import json
import re

import pytest

from leakatk.errors import InputError
from leakatk.files.writing import write_kept
from leakatk.report.content import Line, ReportContent
from leakatk.report.html import render
from leakatk.report.training import FILE, MOST, keep_training, training_chart, training_of

LOG = [{"step": s, "forget": 2.0 / s, "retain": None if s == 2 else 0.5, "lr": 1e-5 * s} for s in range(1, 5)]
CHECKS = [{"step": 2, "forget": 0.5, "utility": 0.9}, {"step": 4, "forget": 0.0, "utility": 0.8}]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "run").mkdir()
    record = {
        "method": "npo",
        "steps": 4,
        "seconds": 3.2,
        "stopped": "",
        "log": LOG,
        "checks": CHECKS,
        "forget": "secret-hash",
    }
    write_kept(tmp_path / "model" / "unlearning.json", json.dumps(record))
    return tmp_path


def test_the_record_is_kept_beside_the_audit_and_read_back(place):
    assert keep_training(place / "model", place / "run") == ""
    assert "secret-hash" not in (place / "run" / FILE).read_text()
    found = training_of(place / "run" / FILE, "mine")
    assert found.title == "Training of mine"
    assert found.caption == "npo, 4 steps in 3 s."
    panels = dict(found.panels)
    loss = {line.name: line for line in panels["loss"]}
    assert loss["forget loss"].step == (1, 2, 3, 4)
    assert loss["forget loss"].value == pytest.approx([2, 1, 2 / 3, 0.5])
    assert loss["retain loss"].step == (1, 3, 4), "a step without a value is no point, and no 0"
    assert {line.name: line.value for line in panels["checks"]} == {
        "greedy forget": (0.5, 0.0),
        "greedy retain": (0.9, 0.8),
    }
    assert training_of(place / "run" / "none.json", "mine") is None
    assert keep_training(place / "run", place) == "", "a model of another origin has no record"


def test_a_damaged_record_costs_the_curves_alone(place):
    (place / "model" / "unlearning.json").write_text("{")
    assert keep_training(place / "model", place / "run").startswith("The report has no training curves: ")
    assert not (place / "run" / FILE).exists()


def test_a_long_curve_is_drawn_by_means_of_parts(tmp_path):
    many = 10 * MOST
    write_kept(tmp_path / FILE, json.dumps({"log": [{"step": s, "forget": float(s)} for s in range(1, many + 1)]}))
    [(_, [line])] = training_of(tmp_path / FILE, "m").panels
    assert len(line.step) == MOST
    assert line.value[0] == pytest.approx(sum(range(1, 11)) / 10)
    assert line.step[-1] == many
    assert sum(line.value) * 10 == pytest.approx(many * (many + 1) / 2), "every step counts once"


def test_the_drawing_is_to_scale():
    svg = training_chart("loss", [Line("a", (1, 3, 5), (0.0, 1.0, 4.0)), Line("<b>", (1, 5), (2.0, 2.0))], ident="x")
    first, second = re.findall(r'<path class="trace" d="M([\d. L]+)"', svg)
    points = [tuple(map(float, pair.split())) for pair in first.split("L")]
    (x0, y0), (x1, y1), (x2, y2) = points
    assert x1 - x0 == pytest.approx(x2 - x1, abs=0.11)
    assert y0 - y1 == pytest.approx((y0 - y2) / 4, abs=0.11)
    assert "&lt;b&gt;" in svg
    assert len(second.split("L")) == 2
    with pytest.raises(InputError, match="no line"):
        training_chart("loss", [])


def test_the_page_shows_them(place):
    keep_training(place / "model", place / "run")
    page = render(ReportContent("t", "v", trainings=(training_of(place / "run" / FILE, "mine"),)))
    assert '<section id="training">' in page
    assert page.count("against the step") == 3
    assert '<a href="#training">' in page
    assert '<section id="training">' not in render(ReportContent("t", "v"))
