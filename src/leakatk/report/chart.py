"""Chart of leak@k as SVG: log-2 axis for k, bands, greedy in a lane of its own left of k = 1.

Colours come from CSS classes (`s0` ... `s5`, `ref`, `orig`), so that the page's light and dark themes apply; `standalone_svg`
carries its own. Every series also has its own marker shape and dash, so nothing depends on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise

from leakatk.report.content import Curve
from leakatk.report.scales import least_positive, linear, logarithmic
from leakatk.text import number, percent, shorten, visible

Scale = Callable[[float], float]

# Okabe and Ito's colour-blind safe hues, darkened where needed for a contrast of 3:1 on white; black is the reference's.
PALETTE = ("#D55E00", "#0072B2", "#008F68", "#B4588C", "#B97A00", "#3D97CF")
DASHES = {"reference": "7 4", "control": "2 3", "forecast": "5 5", "exact": "5 5"}
_TOPS = {
    0.02: 4,
    0.05: 5,
    0.1: 5,
    0.2: 4,
    0.3: 3,
    0.4: 4,
    0.5: 5,
    0.6: 6,
    0.8: 4,
    1.0: 5,
}  # top of the y axis: its steps
_LABEL = 26  # characters of a name beside its line
_FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

STYLE = (
    f".leak text{{font-family:{_FONT};font-size:13px;fill:#1c1e21}}.leak .dim{{fill:#5c6066}}"
    ".leak .grid{stroke:#dfe2e6;stroke-width:1}.leak .axis{stroke:#8a9097;stroke-width:1}"
    ".leak .gate{fill:none;stroke:#b3261e;stroke-width:1.4;stroke-dasharray:8 4}.leak .gate.mark{stroke-width:3;stroke-dasharray:none}.leak .lane{fill:#f3f4f6}.leak .line{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}"
    ".leak .band{opacity:.14;stroke:none}.leak .hollow{fill:#fff;stroke-width:2}.leak .whisker{stroke-width:1.4;fill:none}"
    + "".join(f".leak .s{i}{{--c:{c}}}" for i, c in enumerate(PALETTE))
    + ".leak .ref{--c:#1c1e21}.leak .orig{--c:#7a7f86}"
    ".leak .line,.leak .whisker,.leak .hollow{stroke:var(--c)}.leak .band,.leak .dot{fill:var(--c)}"
)


def series_classes(curves: Sequence[Curve]) -> dict[str, str]:
    """Colour class of each curve label: one per model in order of appearance, `ref` and `orig` for those, `of` shares."""
    classes: dict[str, str] = {}
    taken = 0
    for curve in curves:
        owner = curve.of or curve.label
        if owner not in classes:
            kind = next((c.kind for c in curves if c.label == owner), "model")
            if kind in ("reference", "original"):
                classes[owner] = {"reference": "ref", "original": "orig"}[kind]
            else:
                classes[owner] = f"s{taken % len(PALETTE)}"
                taken += 1
        classes[curve.label] = classes[owner]
    return classes


def legend(curves: Sequence[Curve], classes: dict[str, str]) -> list[dict[str, str]]:
    """One entry per line of the chart: label, css class, kind, and a small <svg> sample of its dash and marker."""
    shapes = {css: i for i, css in enumerate(dict.fromkeys(classes.values()))}
    entries = []
    for curve in curves:
        if curve.kind == "greedy":
            continue
        css = classes[curve.label]
        dash = DASHES.get(curve.kind, "5 5" if curve.dashed else "")
        style = f' stroke-dasharray="{dash}"' if dash else ""
        mark = _marker(shapes[css], 15, 8, "dot" if curve.kind in ("model", "reference", "original") else "hollow")
        sample = f'<svg class="leak {css}" viewBox="0 0 30 16" width="30" height="16" aria-hidden="true"><path class="line"{style} d="M1 8H29"/>{mark}</svg>'
        entries.append({"label": visible(curve.label, lines=False), "kind": curve.kind, "css": css, "sample": sample})
    return entries


def split_panels(curves: Sequence[Curve]) -> tuple[list[Curve], list[Curve]]:
    """(near, far): what fits an axis of sampled k, and what reaches far beyond (exact and forecast at 10^4 .. 10^6).

    A far forecast brings the sampled curve it continues.
    """
    sampled = [c.k[-1] for c in curves if c.kind not in ("forecast", "exact", "greedy")]
    limit = 16 * max(sampled, default=max((c.k[-1] for c in curves), default=1))
    far = [c for c in curves if c.k[-1] > limit]
    continued = {c.of for c in far if c.kind == "forecast"}
    base = [c for c in curves if c.label in continued and c not in far]
    return [c for c in curves if c not in far], base + far


def far_panels(far: Sequence[Curve]) -> list[tuple[str, list[Curve]]]:
    """(kind, curves) of the charts beyond the samples: what is computed apart from what is forecast, so that both can be
    read. With more than two forecasts the sampled curves and the guaranteed bounds are left to the table."""
    exact = [_owned(c) for c in far if c.kind == "exact"]
    forecast = [c for c in far if c.kind != "exact"]
    ahead = [c for c in forecast if c.kind == "forecast"]
    if len(ahead) > 2:
        forecast = [replace(_owned(c), low=(), high=()) for c in ahead]
    return [(kind, curves) for kind, curves in (("forecast", forecast), ("exact", exact)) if curves]


def _owned(curve: Curve) -> Curve:
    """The curve under its model's name alone: the chart says what it is."""
    return replace(curve, label=curve.of or curve.label, of="")


def ceiling(curves: Sequence[Curve], threshold: float = math.nan) -> float:
    """A round top of the y axis just above every finite value and bound, and a gate's threshold."""
    return ceiling_of([v for c in curves for v in (*c.value, *c.high, threshold)])


def ceiling_of(values: Sequence[float]) -> float:
    """A round top of an axis just above every finite value."""
    top = max((value for value in values if math.isfinite(value)), default=0.0)
    return next((t for t in _TOPS if t >= top), max(1.0, top))


def _first(curves: Sequence[Curve]) -> int:
    """Where the k axis begins: at 1, or where all curves begin far from it at the power of ten before the first."""
    least = min((c.k[0] for c in curves), default=1)
    return 10 ** (len(str(least)) - 1) if least >= 100 else 1


def _ticks(k_min: int, k_max: int, room: float) -> list[int]:
    """Labelled k: powers of two up to 1024, powers of ten beyond; thinned to fit `room` labels."""
    if k_max > 4096:
        ticks = [10**e for e in range(math.floor(math.log10(k_max)) + 1)]
    else:
        ticks = [2**e for e in range(math.floor(math.log2(k_max)) + 1)]
    ticks = [tick for tick in ticks if tick >= k_min]
    step = max(1, math.ceil(len(ticks) / max(room, 1)))
    return ticks[::step]


def _k_label(k: int) -> str:
    power = len(str(k)) - 1
    if power >= 4 and k == 10**power:
        return "10" + str(power).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return str(k)


def _marker(shape: int, x: float, y: float, css: str) -> str:
    """One of six shapes of about equal area, centred on (x, y)."""
    if shape == 0:
        return f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="3.6"/>'
    path = (
        "M-3.3-3.3h6.6v6.6h-6.6z",
        "M0-4.4L4.2 3.2H-4.2z",
        "M0-4.6L4.6 0 0 4.6-4.6 0z",
        "M0 4.4L4.2-3.2H-4.2z",
        "M-1.4-4.2h2.8v2.8h2.8v2.8h-2.8v2.8h-2.8v-2.8h-2.8v-2.8h2.8z",
    )[(shape - 1) % 5]
    return f'<path class="{css}" d="{path}" transform="translate({x:.1f} {y:.1f})"/>'


def curve_chart(
    curves: Sequence[Curve],
    *,
    classes: dict[str, str] | None = None,
    width: int = 760,
    height: int = 420,
    labels: bool = True,
    y_name: str = "leak@k",
    ident: str = "",
    description: str = "",
    threshold: float = math.nan,
    threshold_k: int = 0,
    log: bool = False,
    limit: Curve | None = None,
) -> str:
    """An <svg> of the curves. labels: name the curves at their right end (needs the width). "" when there are none.

    Each series is a <g data-label=...> that scripts can hide. ident: prefix of ids, unique in the page; when given, the
    drawing takes the keyboard focus and has a column <rect class="hit" data-k=...> for every k. threshold: the bound of a
    gate, drawn as a line across; NaN without one.  threshold_k: the k that it is for, marked on the line; 0 for none.
    log: a logarithmic y axis, zero in a place of its own.  limit: what a gate on a difference allows at each k, named by its label.
    """
    if not curves:
        return ""
    classes = classes or series_classes(curves)
    lines = [c for c in curves if c.kind != "greedy"]
    greedy = [c for c in curves if c.kind == "greedy"]
    k_max = max([c.k[-1] for c in lines], default=1)
    top = ceiling([*curves, *([limit] if limit else [])], threshold)
    lane = max(48, 14 + (11 if width > 600 else 5) * len(greedy)) if greedy else 0
    left, head, foot = 46, 26, 46
    longest = max((min(len(visible(c.label, lines=False)), _LABEL) for c in lines), default=0)
    right = 24 + round(7.9 * longest) if labels and lines else 16
    x0 = left + lane + (12 if greedy else 0)
    x1, y0, y1 = width - right, height - foot, head
    k_min = _first(lines)
    span = math.log2(k_max / k_min) or 1.0

    def x(k: float) -> float:
        return x0 + 8 + (x1 - x0 - 8) * math.log2(k / k_min) / span

    least = least_positive(curves) if log else math.nan
    axis = linear(top, _TOPS.get(top, 5), y0, y1) if math.isnan(least) else logarithmic(top, least, y0, y1)
    y = axis.y
    focus = ' tabindex="0" data-read="1"' if ident else ""
    out = [
        f'<svg class="leak" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-labelledby="{ident}-t {ident}-d"{focus}>'
        f'<title id="{ident}-t">{escape(visible(y_name, lines=False))} against the number of samples k</title>'
        f'<desc id="{ident}-d">{escape(visible(description, lines=False))}</desc>'
    ]
    if greedy:
        out.append(f'<rect class="lane" x="{left}" y="{y1}" width="{lane}" height="{y0 - y1}"/>')
    for value, label in axis.ticks:
        out.append(
            f'<line class="{"grid" if value else "axis"}" x1="{left}" x2="{x1}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
        )
        out.append(f'<text class="dim" x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{label}</text>')
    scale = " (log scale)" if log else ""
    out.append(f'<text class="dim" x="4" y="14">{escape(visible(y_name, lines=False))}{scale}</text>')
    if lines and all(value == 0 for curve in lines for value in curve.value):
        out.append(f'<text class="dim" x="{x0 + 14}" y="{y0 - 10}">0: none of the samples leaks</text>')
    if lines:
        for tick in _ticks(k_min, k_max, (x1 - x0) / 44):
            out.append(f'<line class="axis" x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="{y0}" y2="{y0 + 4}"/>')
            out.append(
                f'<text class="dim" x="{x(tick):.1f}" y="{y0 + 19}" text-anchor="middle">{_k_label(tick)}</text>'
            )
        out.append(
            f'<text class="dim" x="{(x0 + x1) / 2:.1f}" y="{height - 8}" text-anchor="middle">k: samples drawn per prompt (log scale)</text>'
        )
    if greedy:
        out.append(f'<line class="axis" x1="{left}" x2="{left + lane}" y1="{y0}" y2="{y0}"/>')
        out.append(f'<text class="dim" x="{left + lane / 2:.1f}" y="{y0 + 19}" text-anchor="middle">greedy</text>')

    if math.isfinite(threshold):
        at = y(threshold)
        above = at - 5 if at > y1 + 16 else at + 15
        for_k = f" at k = {threshold_k:,}" if threshold_k else ""
        out.append(f'<line class="gate" x1="{left}" x2="{x1}" y1="{at:.1f}" y2="{at:.1f}"/>')
        out.append(f'<text class="dim" x="{x0 + 4}" y="{above:.1f}">gate: at most {percent(threshold)}{for_k}</text>')
        if threshold_k and lines and k_min <= threshold_k <= k_max:
            out.append(f'<path class="gate mark" d="M{x(threshold_k):.1f} {at - 6:.1f}v12"/>')

    if limit and lines:
        at_k = [(k, v) for k, v in zip(limit.k, limit.value, strict=True) if k_min <= k <= k_max and math.isfinite(v)]
        path = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in at_k)
        name = escape(visible(limit.label, lines=False))
        out.append(f'<polyline class="gate" points="{path}"/>')
        out += [f'<text class="dim" x="{x(k) + 4:.1f}" y="{y(v) - 5:.1f}">{name}</text>' for k, v in at_k[:1]]

    shapes = {css: i for i, css in enumerate(dict.fromkeys(classes.values()))}
    ordered = sorted(lines, key=lambda c: c.kind == "model")  # models on top
    for curve in ordered:
        out.append(_series(curve, classes[curve.label], shapes[classes[curve.label]], x, y))
    for i, curve in enumerate(greedy):
        cx = left + lane * (i + 1) / (len(greedy) + 1)
        css = classes[curve.label]
        text = f"{curve.of or curve.label}, greedy: {number(curve.value[0])}"
        mark = _marker(shapes[css], cx, y(curve.value[0]), "hollow") if math.isfinite(curve.value[0]) else ""
        owner = escape(visible(curve.of or curve.label, lines=False))
        out.append(
            f'<g class="series {css}" data-label="{owner}"><title>{escape(visible(text, lines=False))}</title>{mark}</g>'
        )
    if ident:
        if greedy:
            out.append(f'<rect class="hit" data-k="greedy" x="{left}" y="{y1}" width="{lane}" height="{y0 - y1}"/>')
        out += _columns(sorted({k for c in lines for k in c.k}), x, y1, y0)
    if labels and lines:
        out += _end_labels(lines, classes, x, y, x1, y0)
    out.append("</svg>")
    return "".join(out)


def _columns(ks: list[int], x: Scale, top: float, bottom: float) -> list[str]:
    """Invisible columns, one per k, meeting half-way to the next."""
    middles = [(x(a) + x(b)) / 2 for a, b in pairwise(ks)]
    edges = [x(ks[0]) - 10, *middles, x(ks[-1]) + 10] if ks else []
    return [
        f'<rect class="hit" data-k="{k}" x="{a:.1f}" y="{top}" width="{b - a:.1f}" height="{bottom - top}"/>'
        for k, a, b in zip(ks, edges, edges[1:], strict=False)
    ]


def _series(curve: Curve, css: str, shape: int, x: Scale, y: Scale) -> str:
    points = [(x(k), y(v)) for k, v in zip(curve.k, curve.value, strict=True) if math.isfinite(v)]
    parts = []
    if curve.low and curve.kind not in ("control",):
        band = [
            (x(k), y(a), y(b))
            for k, a, b in zip(curve.k, curve.low, curve.high, strict=True)
            if math.isfinite(a) and math.isfinite(b)
        ]
        if len(band) > 1:
            outline = [f"{px:.1f},{high:.1f}" for px, _, high in band] + [
                f"{px:.1f},{low:.1f}" for px, low, _ in reversed(band)
            ]
            parts.append(f'<polygon class="band" points="{" ".join(outline)}"/>')
        elif band:
            px, low, high = band[0]
            parts.append(f'<line class="whisker" x1="{px:.1f}" x2="{px:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
    dash = DASHES.get(curve.kind, "5 5" if curve.dashed else "")
    style = f' stroke-dasharray="{dash}"' if dash else ""
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    parts.append(f'<polyline class="line"{style} points="{path}"/>')
    mark = "dot" if curve.kind in ("model", "reference", "original") else "hollow"
    parts += [_marker(shape, px, py, mark) for px, py in points] if len(points) <= 16 else []
    label = escape(visible(curve.label, lines=False))
    return f'<g class="series {css}" data-label="{label}"><title>{label}</title>{"".join(parts)}</g>'


def _end_labels(
    curves: Sequence[Curve], classes: dict[str, str], x: Scale, y: Scale, x1: float, y0: float
) -> list[str]:
    """Names beside the right ends, pushed apart so that none overlap."""
    ends = []
    for curve in curves:
        finite = [(k, v) for k, v in zip(curve.k, curve.value, strict=True) if math.isfinite(v)]
        if finite:
            ends.append((y(finite[-1][1]), x(finite[-1][0]), curve))
    out = [_beside(px, py, curve, classes) for py, px, curve in ends if px < x1 - 40]  # ends early: named where it ends
    ends = [end for end in ends if end[1] >= x1 - 40]
    ends.sort(key=lambda end: end[0])
    gap = 15.0
    places: list[float] = []
    for wanted, _, _ in ends:
        places.append(max(wanted, places[-1] + gap) if places else wanted)
    overflow = places[-1] - (y0 + 2) if places else 0.0
    if overflow > 0:  # push the lowest up to the axis, and what is above it further up
        places[-1] -= overflow
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    for (py, px, curve), place in zip(ends, places, strict=True):
        label = visible(curve.label, lines=False)
        css = classes[curve.label]
        full = escape(label)
        out.append(
            f'<g class="series {css}" data-label="{full}"><title>{full}</title>'
            f'<path class="line" stroke-width="1" style="stroke-width:1.2" d="M{px + 5:.1f} {py:.1f}L{x1 + 12} {place:.1f}"/>'
            f'<text x="{x1 + 16}" y="{place + 4:.1f}">{escape(shorten(label, _LABEL))}</text></g>'
        )
    return out


def _beside(px: float, py: float, curve: Curve, classes: dict[str, str]) -> str:
    label = visible(curve.label, lines=False)
    return (
        f'<g class="series {classes[curve.label]}" data-label="{escape(label)}"><title>{escape(label)}</title>'
        f'<text x="{px + 9:.1f}" y="{py + 4:.1f}">{escape(shorten(label, _LABEL))}</text></g>'
    )


def standalone_svg(
    curves: Sequence[Curve], *, width: int = 760, height: int = 420, y_name: str = "leak@k", threshold: float = math.nan
) -> str:
    """A complete SVG file (own colours, white ground) for papers and slides."""
    svg = curve_chart(curves, width=width, height=height, y_name=y_name, threshold=threshold)
    head, rest = svg.split(">", 1)
    return f'{head} width="{width}" height="{height}"><style>{STYLE}</style><rect width="100%" height="100%" fill="#fff"/>{rest}\n'
