"""The chart as a file: every format, and what is said where one cannot be written."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from leakatk.errors import InputError
from leakatk.report.chart import standalone_svg
from leakatk.report.content import Curve
from leakatk.report.plots import save_chart
from tests.report.samples import demo


def test_save_chart_svg(tmp_path: Path) -> None:
    save_chart(demo().curves, tmp_path / "chart.svg")
    ElementTree.parse(tmp_path / "chart.svg")


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF")])
def test_save_chart_with_matplotlib(tmp_path: Path, suffix: str, magic: bytes) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: plots)")
    path = tmp_path / f"chart{suffix}"
    save_chart([*demo().curves, Curve("cost $x^2 & _a", (1, 2), (0.1, 0.2))], path)
    assert path.read_bytes().startswith(magic)


def test_without_matplotlib_the_message_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(InputError, match=r"pip install 'leak-at-k\[plots\]'"):
        save_chart(demo().curves, tmp_path / "chart.png")


def test_save_chart_refuses_other_suffixes_and_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.svg, \.png or \.pdf"):
        save_chart(demo().curves, tmp_path / "chart.gif")
    with pytest.raises(InputError, match="no curves"):
        save_chart([], tmp_path / "chart.svg")


def test_the_svg_is_the_standalone_chart_under_its_own_name_of_the_axis(tmp_path: Path) -> None:
    curves = [Curve("a", (1, 2), (0.1, 0.2))]
    save_chart(curves, tmp_path / "CHART.SVG", y_name="excess@k")
    assert (tmp_path / "CHART.SVG").read_text(encoding="utf-8") == standalone_svg(curves, y_name="excess@k")


@pytest.mark.parametrize("name", ["chart", "chart.jpg", ".svg"])
def test_a_name_without_a_known_suffix_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(
        InputError, match=rf"{name}: a chart can be written as \.svg, \.png or \.pdf, not '(without a suffix|\.jpg)'"
    ):
        save_chart(demo().curves, tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path, suffix: str) -> None:
    if suffix == ".png":
        pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra: plots)")
    (tmp_path / f"chart{suffix}").mkdir()
    with pytest.raises(InputError, match="Cannot write") as said:
        save_chart([Curve("a", (1, 2), (0.1, 0.2))], tmp_path / f"chart{suffix}")
    assert "\n" not in str(said.value)


def test_what_is_drawn_has_the_curves_points_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure that matplotlib is given: the k axis in powers of two, greedy left of it, bands, and no formula in a name."""
    figure = pytest.importorskip("matplotlib.figure", reason="matplotlib is not installed (extra: plots)")
    drawn = []
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *_, **__: drawn.append(self))
    curves = [
        Curve("a $x$", (1, 2, 4), (0.1, 0.2, 0.3), (0.0, 0.1, 0.2), (0.2, 0.3, 0.4)),
        Curve("a: greedy", (1,), (0.05,), kind="greedy", of="a $x$"),
        Curve("_b", (1, 4), (0.3, 0.4), (0.2, 0.3), (0.4, 0.5), kind="control"),
    ]
    save_chart(curves, tmp_path / "chart.png")
    [axes] = drawn[0].axes
    lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
    assert lines == [([1, 2, 4], [0.1, 0.2, 0.3]), ([0.5], [0.05]), ([1, 4], [0.3, 0.4])]
    assert axes.get_legend_handles_labels()[1] == [r"a \$x\$", "b"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["greedy", "1", "2", "4"]
    assert axes.get_xscale() == "log"
    assert len(axes.collections) == 1, "the control has no band"
    assert axes.get_ylim()[0] == 0
