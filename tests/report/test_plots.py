"""The chart as a file: every format, and what is said where one cannot be written."""

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from leakatk.errors import InputError
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
