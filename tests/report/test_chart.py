"""The chart: where its points stand, what it leaves out, and that it is valid XML whatever the names are."""

import math
import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from leakatk.report.chart import (
    DASHES,
    PALETTE,
    ceiling,
    curve_chart,
    far_panels,
    legend,
    series_classes,
    split_panels,
    standalone_svg,
)
from leakatk.report.content import Curve
from tests.report.hostile import hostile_report
from tests.report.samples import demo

SVG = "{http://www.w3.org/2000/svg}"


def points(svg: str, label: str) -> list[tuple[float, float]]:
    """Corners of the line of one series."""
    root = ElementTree.fromstring(svg)
    group = next(
        g for g in root.iter(f"{SVG}g") if g.get("data-label") == label and g.find(f"{SVG}polyline") is not None
    )
    line = group.find(f"{SVG}polyline")
    assert line is not None
    return [tuple(map(float, pair.split(","))) for pair in (line.get("points") or "").split()]  # type: ignore[misc]


def test_the_k_axis_is_logarithmic_and_values_are_in_proportion() -> None:
    drawn = points(curve_chart([Curve("a", (1, 2, 4, 16), (0.0, 0.25, 0.5, 1.0))], width=800, height=400), "a")
    (x1, y0), (x2, y25), (x4, y50), (x16, y100) = drawn
    assert x2 - x1 == pytest.approx((x4 - x1) / 2, abs=0.2)
    assert x16 - x4 == pytest.approx(x4 - x1, abs=0.2)
    assert y0 - y50 == pytest.approx(2 * (y0 - y25), abs=0.2)
    assert y0 - y100 == pytest.approx(4 * (y0 - y25), abs=0.2)


def test_missing_points_are_left_out() -> None:
    svg = curve_chart([Curve("a", (1, 2, 4), (0.1, math.nan, 0.3), (0.0, math.nan, 0.2), (0.2, math.nan, 0.4))])
    assert len(points(svg, "a")) == 2
    assert "nan" not in svg


@pytest.mark.parametrize("width", [360, 800])
def test_every_chart_is_valid_xml(width: int) -> None:
    for curves in (
        demo().curves,
        hostile_report(lambda text: text).curves,
        [Curve("one", (1,), (0.0,), (0.0,), (0.1,))],
    ):
        ElementTree.fromstring(curve_chart(curves, width=width, ident="x"))


def test_an_axis_far_from_one_begins_at_the_power_of_ten_before_its_curves() -> None:
    svg = curve_chart([Curve("a", (400, 1000, 100_000), (0.1, 0.2, 0.4)), Curve("b", (500, 10_000), (0.1, 0.3))])
    assert ">100<" in svg
    assert ">10<" not in svg
    at = [x for x, _ in points(svg, "a")]
    ratio = (at[1] - at[0]) / (at[2] - at[1])
    assert ratio == pytest.approx(math.log(1000 / 400) / math.log(100), abs=0.02)
    near = curve_chart([Curve("a", (400, 100_000), (0.1, 0.2)), Curve("b", (1, 10), (0.1, 0.3))])
    assert ">10<" in near


def test_no_curves_no_chart() -> None:
    assert curve_chart([]) == ""


def test_colours_are_shared_by_what_belongs_together() -> None:
    classes = series_classes(demo().curves)
    assert classes["IdkNLL, greedy"] == classes["IdkNLL, exact verbatim"] == classes["IdkNLL"]
    assert classes["same steps, no RULE"] == classes["RULE-SimNPO"] != classes["SimNPO"]
    assert classes["retrained"] == "ref"
    assert classes["full model"] == "orig"


def test_far_curves_get_a_panel_of_their_own() -> None:
    sampled = Curve("m", (1, 128), (0.1, 0.2))
    near_forecast = Curve("near", (128, 1024), (0.2, 0.3), kind="forecast", of="m")
    far_forecast = Curve("far", (128, 1_000_000), (0.2, 0.9), kind="forecast", of="m")
    near, far = split_panels([sampled, near_forecast, far_forecast])
    assert near == [sampled, near_forecast]
    assert far == [sampled, far_forecast]


def test_what_is_computed_and_what_is_forecast_are_drawn_apart() -> None:
    k = (128, 1_000_000)
    ahead = [
        Curve(f"m{i}: forecast", k, (0.2, 0.9), (0.1, 0.5), (0.3, 1.0), kind="forecast", of=f"m{i}") for i in range(3)
    ]
    exact = Curve("m0: exact verbatim", k, (0.0, 0.1), kind="exact", of="m0")
    sampled = Curve("m0", (1, 128), (0.1, 0.2))
    [(first, forecast), (second, computed)] = far_panels([sampled, *ahead[:1], exact])
    assert (first, second) == ("forecast", "exact")
    assert forecast == [sampled, ahead[0]]
    assert [curve.label for curve in computed] == ["m0"]
    [(_, many)] = far_panels([sampled, *ahead])
    assert [curve.label for curve in many] == ["m0", "m1", "m2"], "no sampled curve, each under its model's name"
    assert not any(curve.low for curve in many), "three bands over one another say nothing"


def test_a_curve_that_ends_early_is_named_where_it_ends() -> None:
    svg = curve_chart([Curve("short", (1, 2), (0.1, 0.2)), Curve("long", (1, 1024), (0.1, 0.9))])
    places = {name: float(x) for x, name in re.findall(r'<text x="([\d.]+)"[^>]*>(short|long)</text>', svg)}
    assert places["short"] < places["long"] - 300


def test_standalone_svg_carries_its_colours() -> None:
    root = ElementTree.fromstring(standalone_svg(demo().curves))
    style = root.find(f"{SVG}style")
    assert style is not None
    assert "#D55E00" in (style.text or "")


@pytest.mark.parametrize(
    ("values", "threshold", "top"),
    [
        ((0.0, 0.01), math.nan, 0.02),
        ((0.0, 0.2), math.nan, 0.2),
        ((0.0, 0.2000001), math.nan, 0.3),
        ((0.0, 0.1), 0.55, 0.6),
        ((math.nan, math.inf), math.nan, 0.02),
        ((0.3, 1.0), math.nan, 1.0),
        ((0.3, 7.0), math.nan, 7.0),
    ],
)
def test_the_axis_ends_just_above_every_value(values: tuple[float, ...], threshold: float, top: float) -> None:
    assert ceiling([Curve("a", (1, 2), values)], threshold) == top
    assert ceiling([]) == 0.02


def test_the_axis_holds_the_bands_too() -> None:
    assert ceiling([Curve("a", (1, 2), (0.1, 0.2), (0.0, 0.1), (0.2, 0.75))]) == 0.8


def test_a_gate_is_a_line_across_at_its_bound() -> None:
    curves = [Curve("a", (1, 2, 4), (0.0, 0.25, 0.5))]
    root = ElementTree.fromstring(curve_chart(curves, threshold=0.25))
    [line] = [one for one in root.iter(f"{SVG}line") if one.get("class") == "gate"]
    level = points(curve_chart(curves), "a")[1][1]
    assert float(line.get("y1", "nan")) == float(line.get("y2", "nan")) == pytest.approx(level, abs=0.1)
    assert "gate: at most 25%" in "".join(root.itertext())
    assert not [
        one for one in ElementTree.fromstring(curve_chart(curves)).iter(f"{SVG}line") if one.get("class") == "gate"
    ]


def test_greedy_stands_in_a_lane_of_its_own_left_of_the_first_k() -> None:
    curves = [Curve("a", (1, 2), (0.1, 0.2)), Curve("a: greedy", (1,), (0.1,), kind="greedy", of="a")]
    svg = curve_chart(curves, ident="x")
    root = ElementTree.fromstring(svg)
    [lane] = [one for one in root.iter(f"{SVG}rect") if one.get("class") == "lane"]
    end = float(lane.get("x", "nan")) + float(lane.get("width", "nan"))
    assert points(svg, "a")[0][0] > end
    [mark] = [one for one in root.iter(f"{SVG}circle") if one.get("class") == "hollow"]
    assert float(lane.get("x", "nan")) < float(mark.get("cx", "nan")) < end
    assert float(mark.get("cy", "nan")) == pytest.approx(points(svg, "a")[0][1], abs=0.1), (
        "the same value, the same height"
    )
    assert 'class="lane"' not in curve_chart(curves[:1])


def test_every_k_has_a_column_to_point_at_and_they_meet() -> None:
    svg = curve_chart([Curve("a", (1, 4, 64), (0.1, 0.2, 0.3)), Curve("b", (2,), (0.1,))], ident="x")
    hits = [one for one in ElementTree.fromstring(svg).iter(f"{SVG}rect") if one.get("class") == "hit"]
    assert [one.get("data-k") for one in hits] == ["1", "2", "4", "64"]
    edges = [(float(one.get("x", "nan")), float(one.get("x", "nan")) + float(one.get("width", "nan"))) for one in hits]
    for (_, end), (start, _) in pairwise(edges):
        assert end == pytest.approx(start, abs=0.2)
    for (start, end), (x, _) in zip([edges[0], edges[2], edges[3]], points(svg, "a"), strict=True):
        assert start < x < end
    assert 'class="hit"' not in curve_chart([Curve("a", (1, 4), (0.1, 0.2))])


@pytest.mark.parametrize("end", [0.0, 0.5])
def test_names_at_the_right_end_do_not_overlap(end: float) -> None:
    """Nor do they leave the chart: those at the axis are pushed up."""
    curves = [Curve(f"model {i}", (1, 128), (0.1, end + i / 1000)) for i in range(12)]
    svg = curve_chart(curves)
    places = sorted(float(y) for y in re.findall(r'<text x="[\d.]+" y="([\d.]+)">model \d+</text>', svg))
    assert len(places) == 12
    assert min(b - a for a, b in pairwise(places)) > 14.8
    assert max(places) <= 420 - 46 + 2 + 4, "the axis, and a little"


def test_the_legend_names_every_line_once_with_its_dash_and_mark() -> None:
    curves = demo().curves
    classes = series_classes(curves)
    entries = legend(curves, classes)
    assert [one["label"] for one in entries] == [curve.label for curve in curves if curve.kind != "greedy"]
    for one in entries:
        ElementTree.fromstring(one["sample"])
        assert one["css"] == classes[one["label"]]
        assert (f'stroke-dasharray="{DASHES[one["kind"]]}"' if one["kind"] in DASHES else '"line" d=') in one["sample"]
    marks = {one["css"]: re.sub(r'class="\w+"', "", one["sample"].split("/>", 1)[1]) for one in entries}
    assert len(set(marks.values())) == min(len(marks), 6), "nothing depends on colour alone"


def test_more_models_than_colours_begin_again() -> None:
    classes = series_classes([Curve(f"m{i}", (1,), (0.1,)) for i in range(len(PALETTE) + 1)])
    assert classes["m0"] == classes[f"m{len(PALETTE)}"] == "s0"
    assert len(set(classes.values())) == len(PALETTE)


def test_what_a_gate_on_the_excess_allows_is_a_line_of_its_own() -> None:
    curves = [Curve("a", (1, 2, 4), (0.0, 0.1, 0.2))]
    limit = Curve("gate: 10 points above <it>", (1, 2, 4, 8), (0.3, 0.4, 0.55, 0.9))
    root = ElementTree.fromstring(curve_chart(curves, limit=limit))
    [line] = [one for one in root.iter(f"{SVG}polyline") if one.get("class") == "gate"]
    heights = [float(point.split(",")[1]) for point in line.get("points", "").split()]
    assert len(heights) == 3, "k = 8 lies beyond the axis"
    [bottom] = [
        float(one.get("y1", ""))
        for one in root.iter(f"{SVG}line")
        if one.get("class") == "axis" and one.get("y1") == one.get("y2")
    ]
    one, two, four = (bottom - height for height in heights)
    assert (two / one, four / one) == (pytest.approx(4 / 3, abs=0.01), pytest.approx(5.5 / 3, abs=0.01))
    assert limit.label in "".join(root.itertext())
    assert 'polyline class="gate"' not in curve_chart(curves)
