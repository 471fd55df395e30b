"""Chart of a ladder as SVG: leak@k of a model by how it is got at, with the retrained model beside it."""

from __future__ import annotations

import math
from html import escape

from leakatk.report.chart import ceiling_of
from leakatk.report.content import Ladder, Number
from leakatk.text import shorten, visible

_ROW, _HEAD, _FOOT, _RIGHT = 34, 12, 44, 24
_LETTER = 6.9  # width of a letter in pixels, on average


def ladder_chart(ladder: Ladder, *, width: int = 860, ident: str = "ladder") -> str:
    """An <svg>: a line a rung, a dot with its interval for the model and a hollow one for the retrained model."""
    longest = max((max(len(visible(bar.name)), len(bar.access)) for bar in ladder.bars), default=0)
    left = min(round(width * 0.42), 24 + round(_LETTER * longest))
    height = _HEAD + _ROW * len(ladder.bars) + _FOOT
    x0, x1, y1 = left, width - _RIGHT, _HEAD + _ROW * len(ladder.bars)
    numbers = [number for bar in ladder.bars for number in (bar.model, bar.retrained)]
    top = ceiling_of([value for number in numbers for value in (number.value, number.high)])
    name = escape(f"leak@{ladder.k} by way of asking and attack")

    def x(value: float) -> float:
        return x0 + (x1 - x0) * min(max(value, 0.0), top) / top

    def mark(number: Number, y: float, css: str, shape: str) -> str:
        if math.isnan(number.value):
            return ""
        whisker = ""
        if number.has_interval:
            whisker = f'<path class="whisker" d="M{x(number.low):.1f} {y:.1f}H{x(number.high):.1f}"/>'
        return (
            f'<g class="{css}">{whisker}<circle class="{shape}" cx="{x(number.value):.1f}" cy="{y:.1f}" r="4.2"/></g>'
        )

    out = [
        f'<svg class="leak" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ident}-t">'
        f'<title id="{ident}-t">{name}</title>'
    ]
    for step in range(5):
        value = top * step / 4
        css = "axis" if step == 0 else "grid"
        out.append(f'<line class="{css}" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{_HEAD}" y2="{y1}"/>')
        out.append(f'<text class="dim" x="{x(value):.1f}" y="{y1 + 18}" text-anchor="middle">{value:.3g}</text>')
    fits = int((left - 16) / _LETTER)
    for place, bar in enumerate(ladder.bars):
        y = _HEAD + _ROW * (place + 0.5)
        out.append(f'<text x="4" y="{y:.1f}">{escape(shorten(visible(bar.name, lines=False), fits))}</text>')
        out.append(
            f'<text class="dim" x="4" y="{y + 13:.1f}" style="font-size:11px">{escape(shorten(visible(bar.access, lines=False), fits))}</text>'
        )
        out.append(mark(bar.retrained, y + 7, "ref", "hollow"))
        out.append(mark(bar.model, y - 3, "s0", "dot"))
    beside = ", hollow: the retrained model" if any(not math.isnan(bar.retrained.value) for bar in ladder.bars) else ""
    out.append(
        f'<text class="dim" x="{(x0 + x1) / 2:.1f}" y="{height - 6}" text-anchor="middle">leak@{ladder.k}; filled: the model{beside}</text>'
    )
    return "".join([*out, "</svg>"])
