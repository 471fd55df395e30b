"""The chart: where its points stand, what it leaves out, and that it is valid XML whatever the names are."""

import math
import re
from xml.etree import ElementTree

import pytest

from leakatk.report.chart import curve_chart, far_panels, series_classes, split_panels, standalone_svg
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
