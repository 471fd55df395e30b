"""Chart of a history as SVG: leak@k of one model by the date of its audits, with intervals."""

from __future__ import annotations

import math
from datetime import date, timedelta
from html import escape

from leakatk.report.chart import ceiling_of
from leakatk.report.content import History
from leakatk.report.scales import linear
from leakatk.text import number, percent, visible

_LEFT, _RIGHT, _HEAD, _FOOT = 46, 24, 26, 40
_LETTER = 7.0  # width of a letter in pixels, on average
MONTHS = 70  # days from which on the axis is marked by months


def time_chart(
    history: History, *, width: int = 860, height: int = 320, ident: str = "time", threshold: float = math.nan
) -> str:
    """An <svg>: a dot with its interval at each date, joined by a line. threshold: the bound of a gate; NaN without one."""
    days = [date.fromisoformat(moment.when) for moment in history.moments]
    values = [moment.value for moment in history.moments]
    top = ceiling_of([*(v for one in values for v in (one.value, one.high)), threshold])
    x0, x1, y0 = _LEFT + 14, width - _RIGHT, height - _FOOT
    axis = linear(top, 5, y0, _HEAD)
    span = (days[-1] - days[0]).days or 1

    def x(day: date) -> float:
        return x0 + (x1 - x0) * (day - days[0]).days / span

    name = escape(visible(f"leak@{history.k} by date: {history.title}", lines=False))
    out = [
        f'<svg class="leak" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-labelledby="{ident}-t">'
        f'<title id="{ident}-t">{name}</title><text class="dim" x="4" y="14">leak@{history.k}</text>'
    ]
    for value, label in axis.ticks:
        css = "grid" if value else "axis"
        out.append(f'<line class="{css}" x1="{_LEFT}" x2="{x1}" y1="{axis.y(value):.1f}" y2="{axis.y(value):.1f}"/>')
        out.append(f'<text class="dim" x="{_LEFT - 8}" y="{axis.y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    for day, label in _dates(days, (x1 - x0) / (_LETTER * 11)):
        anchor = "end" if x(day) > x1 - 40 else "middle"
        out.append(f'<line class="axis" x1="{x(day):.1f}" x2="{x(day):.1f}" y1="{y0}" y2="{y0 + 4}"/>')
        out.append(f'<text class="dim" x="{x(day):.1f}" y="{y0 + 19}" text-anchor="{anchor}">{label}</text>')
    if math.isfinite(threshold):
        at = axis.y(threshold)
        out.append(f'<line class="gate" x1="{_LEFT}" x2="{x1}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text class="dim" x="{x0 + 4}" y="{at - 5:.1f}">gate: at most {percent(threshold)}</text>')
    points = " ".join(f"{x(day):.1f},{axis.y(one.value):.1f}" for day, one in zip(days, values, strict=True))
    out.append(f'<g class="s0"><polyline class="line" points="{points}"/>')
    for day, moment in zip(days, history.moments, strict=True):
        one, at = moment.value, x(day)
        told = escape(visible(f"{moment.when} {moment.label}: {number(one.value)} {one.interval}", lines=False))
        out.append(f"<g><title>{told}</title>")
        if one.has_interval:
            out.append(f'<path class="whisker" d="M{at:.1f} {axis.y(one.low):.1f}V{axis.y(one.high):.1f}"/>')
        out.append(f'<circle class="dot" cx="{at:.1f}" cy="{axis.y(one.value):.1f}" r="4.2"/></g>')
    return "".join([*out, "</g></svg>"])


def _dates(days: list[date], room: float) -> list[tuple[date, str]]:
    """What the axis is marked by: the first of each month over a long time, else the days of the audits; at most `room`."""
    if (days[-1] - days[0]).days < MONTHS:
        marks = [(day, day.isoformat()) for day in sorted(set(days))]
    else:
        first = (days[0].replace(day=1) + timedelta(days=31)).replace(day=1) if days[0].day > 1 else days[0]
        marks = []
        while first <= days[-1]:
            marks.append((first, f"{first:%Y-%m}"))
            first = (first + timedelta(days=31)).replace(day=1)
    step = max(1, math.ceil(len(marks) / max(room, 1)))
    return marks[::step]
