"""Curves show themselves: as a table of HTML, and on matplotlib's axes."""

import sys

import pytest

from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k

SCORES = [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_a_curve_is_a_table_of_its_numbers():
    curve = leak_at_k(SCORES, [1, 4])
    shown = curve._repr_html_()
    assert "<th>leak@k</th><th>95% interval over samples</th>" in shown
    assert "<tr><td>1</td><td>0.125</td>" in shown
    assert "<tr><td>4</td><td>0.500</td>" in shown
    assert "<th>excess@k</th>" in excess(SCORES, SCORES, 2)._repr_html_()


def test_a_curve_draws_itself():
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed (extra: plots)")
    axes = leak_at_k(SCORES, [1, 2, 4]).plot(label="$m")
    assert list(axes.lines[0].get_xdata()) == [1, 2, 4]
    assert list(axes.lines[0].get_ydata()) == pytest.approx([0.125, 0.25, 0.5])
    assert axes.get_legend().get_texts()[0].get_text() == r"\$m"
    other = excess(SCORES, SCORES, [1, 2]).plot(axes)
    assert other is axes
    assert len(axes.lines) == 2
    assert axes.get_ylabel() == "excess@k"
    pyplot.close("all")


def test_without_matplotlib_one_sentence_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "matplotlib.pyplot", raising=False)
    with pytest.raises(InputError, match=r"pip install 'leak-at-k\[plots\]'"):
        leak_at_k(SCORES, 1).plot()
