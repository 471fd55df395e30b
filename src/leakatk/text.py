"""Text made harmless to show: a model's may hold terminal escapes, bidirectional overrides, NULs."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from html import escape

# Control, format (bidi, zero-width), surrogate, private use, unassigned, line and paragraph separators.
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# Combining marks beyond this many in a row only serve to smear over neighbouring lines.
_MAX_MARKS = 4


def visible(text: str, *, lines: bool = True) -> str:
    """The text with every character that acts without being seen replaced by a sign for it.

    C0 controls become their control pictures (ESC: ␛, NUL: ␀, DEL: ␡), all other invisible characters ⟨U+XXXX⟩, and
    a pile of combining marks is cut after four. With lines=True newlines and tabs stay; with lines=False they become
    ⏎ and ⇥ so that the result is a single line. The result holds no lone surrogates: it can always be encoded.
    Markup is not escaped: that is the business of whatever displays it.
    """
    if text.isascii() and text.isprintable():
        return text
    out: list[str] = []
    marks = 0
    for char in text:
        code = ord(char)
        category = "" if 0x20 <= code < 0x7F else unicodedata.category(char)
        marks = marks + 1 if category.startswith("M") else 0
        if char == "\n":
            out.append("\n" if lines else "⏎")
        elif char == "\t":
            out.append("\t" if lines else "⇥")
        elif code < 0x20:
            out.append(chr(0x2400 + code))
        elif code == 0x7F:
            out.append("␡")
        elif category in _HIDDEN:
            out.append(f"⟨U+{code:04X}⟩")
        elif marks <= _MAX_MARKS:
            out.append(char)
    return "".join(out)


def weights_sentence(hashes: Mapping[str, str]) -> str:
    """The SHA-256 of the weights of each model, its first 16 digits, to stand under a table; "" where none is recorded.

    hashes: label -> whole hash; "unknown" behind a server, "" where the run is of a version that did not record it.
    """
    if not any(hashes.values()):
        return ""
    said = {
        label: " + ".join(part[:16] for part in mark.split(" + ")) or "not recorded" for label, mark in hashes.items()
    }
    return f"Weights, SHA-256: {'; '.join(f'{label} {mark}' for label, mark in said.items())}."


def shorten(text: str, length: int) -> str:
    """At most `length` characters; a cut is marked by an ellipsis."""
    return text if len(text) <= length else text[: max(length - 1, 0)].rstrip() + "…"


def number(value: float, digits: int = 3) -> str:
    """A number with a fixed count of decimals; "–" when missing.

    What those decimals would round to zero gets as many as it needs (0.00002), or an exponent below a millionth.
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value != 0 and abs(value) < 0.5 * 10**-digits:
        one_digit = f"{value:.0e}"
        return f"{value:.{-int(one_digit.split('e')[1])}f}" if abs(value) >= 1e-6 else one_digit
    return f"{value:.{digits}f}"


def bound(value: float, digits: int = 3) -> str:
    """The end of an interval in two significant digits, counted from whichever of 0 and 1 is nearer: 0.041, 0.20, 0.9951.

    An end has few digits that mean anything. Beyond 1, such as percentages: `digits` decimals.
    """
    size = abs(value)
    near = min(size, 1 - size)
    if not math.isfinite(value) or size > 1:
        return number(value, digits)
    if near < 1e-12:
        return f"{value:.0f}".replace("-0", "0")
    return f"{value:.{1 - math.floor(math.log10(near))}f}" if near >= 1e-6 else f"{value:.1e}" if size < 0.5 else "1"


def percent(share: float) -> str:
    """A share as a percentage in two significant digits, counted from whichever of 0% and 100% is nearer."""
    if math.isnan(share):
        return "–"
    if share < 0:
        return f"-{percent(-share)}"
    value = 100 * share
    near = min(value, 100 - value)
    if near <= 0:
        return f"{value:.0f}%"
    if near < 1e-4:
        return f"{value:.1e}%" if value < 50 else f"{value:.6f}%"
    return f"{value:.{max(0, 1 - math.floor(math.log10(near)))}f}%"


def html_paragraph(text: str) -> str:
    """A paragraph of HTML; whatever the text holds stays text."""
    return f"<p>{escape(visible(text))}</p>"


def html_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A plain table of HTML; whatever the cells hold stays text."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(visible(cell, lines=False))}</{tag}>" for cell in cells) + "</tr>"

    return (
        f"<table><thead>{line(columns, 'th')}</thead><tbody>{''.join(line(row, 'td') for row in rows)}</tbody></table>"
    )
