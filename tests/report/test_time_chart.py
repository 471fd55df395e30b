"""Chart of a history: a day is as far from another as they are in time, and the axis is marked by months or days."""

import re
from xml.etree import ElementTree

import pytest

from leakatk.report.content import History, Moment, Number, Table
from leakatk.report.time_chart import time_chart


def history(*days, label="m"):
    moments = tuple(Moment(day, label, Number(0.1 * (i + 1), 0.05, 0.4)) for i, day in enumerate(days))
    return History("m over time", 16, moments, Table("", ("date",), ()))


def dots(svg):
    return [(float(x), float(y)) for x, y in re.findall(r'<circle class="dot" cx="([\d.]+)" cy="([\d.]+)"', svg)]


def test_days_stand_in_proportion_and_values_too():
    svg = time_chart(history("2026-01-01", "2026-01-11", "2026-01-31"))
    (xa, ya), (xb, yb), (xc, yc) = dots(svg)
    assert (xb - xa) / (xc - xa) == pytest.approx(10 / 30, abs=0.001)
    assert ya - yb == pytest.approx(yb - yc, abs=0.11)
    assert [float(y) for y in re.findall(r'whisker" d="M[\d.]+ ([\d.]+)V', svg)] == [
        max(map(float, re.findall(r'whisker" d="M[\d.]+ ([\d.]+)V', svg)))
    ] * 3
    assert re.findall(r">(2026-[\d-]+)</text>", svg) == ["2026-01-01", "2026-01-11", "2026-01-31"]


def test_over_months_the_axis_is_marked_by_them_and_thinned():
    wide = re.findall(r">(\d{4}-\d\d)</text>", time_chart(history("2025-11-20", "2026-03-02")))
    assert wide == ["2025-12", "2026-01", "2026-02", "2026-03"]
    narrow = re.findall(r">(\d{4}-\d\d)</text>", time_chart(history("2024-01-01", "2026-12-02"), width=400))
    assert narrow[0] == "2024-01"
    assert len(narrow) <= 5


def test_the_gate_is_drawn_where_there_is_one():
    assert "gate: at most 5.0%" in time_chart(history("2026-01-01", "2026-02-01"), threshold=0.05)
    assert "gate" not in time_chart(history("2026-01-01", "2026-02-01"))


def test_a_hostile_label_stays_text():
    svg = time_chart(history("2026-01-01", "2026-01-01", label="</title><script>x\u202e"))
    root = ElementTree.fromstring(svg)
    assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "⟨U+202E⟩" in svg
