import math
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakatk.text import bound, html_paragraph, html_table, number, percent, shorten, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain words", "plain words"),
        ("été 東京 ß", "été 東京 ß"),
        ("\x1b[31mred\x1b[0m", "␛[31mred␛[0m"),
        ("a\x00b\x7f", "a␀b␡"),
        ("abc\u202egnp.exe", "abc⟨U+202E⟩gnp.exe"),
        ("zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"),
        ("\u2028\u2029", "⟨U+2028⟩⟨U+2029⟩"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("\ud800", "⟨U+D800⟩"),
        ("\U000e0041", "⟨U+E0041⟩"),
        ("two\nlines\tand\r", "two\nlines\tand␍"),
    ],
)
def test_visible_shows_what_acts_unseen(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_visible_can_be_a_single_line() -> None:
    assert visible("a\nb\tc", lines=False) == "a⏎b⇥c"


def test_visible_cuts_piles_of_combining_marks() -> None:
    assert visible("e" + "\u0301" * 500) == "e" + "\u0301" * 4


@given(st.text())
def test_visible_leaves_nothing_that_acts(text: str) -> None:
    shown = visible(text, lines=False)
    assert not any(unicodedata.category(char)[0] == "C" for char in shown)
    shown.encode()


@given(st.text(st.characters(categories=["L", "N", "P", "S"]) | st.just(" ")))
def test_visible_keeps_ordinary_text(text: str) -> None:
    assert visible(text) == text


def test_number() -> None:
    assert number(0.25) == "0.250"
    assert number(0.0) == "0.000"
    assert number(0.00002) == "0.00002", "something small must not look like zero"
    assert number(-0.0004, 2) == "-0.0004"
    assert number(0.000098) == "0.0001"
    assert number(3e-12) == "3e-12"
    assert number(math.nan) == "–"
    assert number(3.0, 0) == "3"


def test_shorten() -> None:
    assert shorten("abc", 3) == "abc"
    assert shorten("abcdef", 4) == "abc…"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0412, "0.041"), (0.203, "0.20"), (0.9951, "0.9951"), (0.00012, "0.00012"), (0, "0"), (1, "1"), (-0.031, "-0.031"),
        (0.5, "0.50"), (1e-9, "1.0e-09"), (-0.0, "0"), (-57.25, "-57.250"), (float("nan"), "–"),
    ],
)  # fmt: skip
def test_an_end_of_an_interval_has_two_digits(value, shown):
    assert bound(value) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0%"), (1, "100%"), (0.0814, "8.1%"), (0.5, "50%"), (0.157, "16%"), (0.9933, "99.33%"), (0.00012, "0.012%")],
)
def test_a_share_has_two_digits_from_the_nearer_end(share, shown):
    assert percent(share) == shown


def test_html_keeps_text_text():
    assert html_paragraph("<b>a\u202e") == "<p>&lt;b&gt;a⟨U+202E⟩</p>"
    made = html_table(("a<", "b"), (("x\ny", '"&'),))
    assert made == (
        "<table><thead><tr><th>a&lt;</th><th>b</th></tr></thead>"
        "<tbody><tr><td>x⏎y</td><td>&quot;&amp;</td></tr></tbody></table>"
    )
