"""Scales of a chart's y axis: where values stand, which lines are drawn, and when a logarithm helps."""

import math
import re
from itertools import pairwise

import pytest

from leakatk.report.chart import curve_chart
from leakatk.report.content import Curve
from leakatk.report.scales import GAP, least_positive, linear, log_helps, logarithmic


def test_the_linear_scale_is_proportional_and_stays_inside():
    axis = linear(0.5, 5, 400, 20)
    for value in (0.0, 0.1, 0.37, 0.5):
        assert axis.y(value) == pytest.approx(400 - 380 * value / 0.5)
    assert (axis.y(-1), axis.y(9)) == (400, 20)
    assert [label for _, label in axis.ticks] == ["0", "0.1", "0.2", "0.3", "0.4", "0.5"]


def test_decades_are_equally_far_apart_and_zero_stands_aside():
    axis = logarithmic(1.0, 0.0042, 400, 20)
    assert [label for _, label in axis.ticks] == ["0", "0.001", "0.01", "0.1", "1"]
    heights = [axis.y(value) for value, _ in axis.ticks]
    assert heights[0] == 400
    assert heights[1] == pytest.approx(400 - GAP)
    steps = [a - b for a, b in pairwise(heights[1:])]
    assert steps == pytest.approx([(400 - GAP - 20) / 3] * 3)
    assert axis.y(math.sqrt(0.1)) == pytest.approx((axis.y(0.1) + axis.y(1)) / 2)
    assert (axis.y(1e-9), axis.y(-0.2), axis.y(5)) == (400 - GAP, 400, 20), "a bound below the lowest decade ends there"


def test_a_top_between_two_decades_has_no_line_above_it():
    axis = logarithmic(0.2, 0.01, 400, 20)
    assert [label for _, label in axis.ticks] == ["0", "0.01", "0.1"]
    assert axis.y(0.2) == 20


@pytest.mark.parametrize(
    ("values", "helps"), [((0.5, 1.0), False), ((0.04, 1.0), True), ((0.0, 1.0), False), ((0.0, 0.0), False)]
)
def test_when_it_helps(values, helps):
    curves = [Curve("a", (1, 2), values)]
    assert log_helps(curves, 1.0) is helps
    assert math.isnan(least_positive([Curve("a", (1,), (0.0,))]))


def test_the_chart_is_drawn_on_it():
    curves = [Curve("a", (1, 2), (0.001, 1.0)), Curve("b", (1, 2), (0.0, 0.01))]
    logged, plain = curve_chart(curves, log=True), curve_chart(curves)
    assert ">leak@k (log scale)<" in logged
    assert "log scale)</text>" in plain, "of k alone"
    assert ">leak@k<" in plain
    heights = [float(y) for y in re.findall(r'<circle[^>]* cy="([\d.]+)"', logged)]
    assert heights[0] - heights[1] == pytest.approx(420 - 46 - 26 - GAP, abs=0.2), "the smallest at the lowest decade"


def test_a_chart_of_zeros_says_so_in_words():
    zero = Curve("a", (1, 2), (0.0, 0.0), (0.0, 0.0), (0.1, 0.2))
    assert "none of the samples leaks" in curve_chart([zero])
    assert "none of the samples leaks" in curve_chart([zero], log=True), "nothing above 0: the linear axis"
    assert "none of the samples leaks" not in curve_chart([zero, Curve("b", (1, 2), (0.0, 0.1))])
