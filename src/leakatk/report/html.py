"""HTML report in one self-contained file: inline style and script, no network, readable from a disk or an e-mail.

Three walls against hostile model text: jinja2 escapes everything on the page; the per-prompt data travel as inert JSON
and reach the page as text nodes only; and a content security policy lets nothing run but our own script, by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from leakatk.report.chart import PALETTE, ceiling, curve_chart, far_panels, legend, series_classes, split_panels
from leakatk.report.content import Cell, Curve, Number, PromptView, ReportContent, TextGroup
from leakatk.report.ladder_chart import ladder_chart
from leakatk.report.scales import log_helps
from leakatk.report.table import is_numeric
from leakatk.report.time_chart import time_chart
from leakatk.report.training import training_chart
from leakatk.text import number, visible

MAX_TEXT = 4_000  # characters of one text; what is cut is said
CAPTIONS = {
    "near": "{metric} within k samples. {conditions}",
    "forecast": "Forecast: dashed lines carry the curve on by a model of how the prompts differ, without guarantee{bounds}.",
    "exact": "Computed, not sampled: the chance that the true answer is said word for word, from its probability.",
}
BANDS = {
    True: "; bands are bounds that hold. The table above has both in numbers",
    False: ". Bounds that hold: see the table above",
}
DATA_BUDGET = 7_500_000  # bytes of per-prompt data, so that the file stays below 10 MB and opens at once


def render(content: ReportContent) -> str:
    """The report as one HTML document (text; write it as UTF-8)."""
    near, far = split_panels(content.curves)
    classes = series_classes(content.curves)
    script = _package_text("script.js") + _package_text("prompts.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("template.html")
        .render(
            c=content,
            style=Markup(_package_text("style.css")),
            script=Markup(script),
            script_hash=digest,
            palette=PALETTE,
            charts=[
                _chart(curves, classes, name, content) for name, curves in (("near", near), *far_panels(far)) if curves
            ],
            ladders=[
                (
                    ladder,
                    Markup(ladder_chart(ladder, ident=f"l{i}w")),
                    Markup(ladder_chart(ladder, width=400, ident=f"l{i}s")),
                )
                for i, ladder in enumerate(content.ladders)
            ],
            histories=[
                (
                    history,
                    Markup(time_chart(history, ident=f"t{i}w", threshold=content.threshold)),
                    Markup(time_chart(history, width=400, height=280, ident=f"t{i}s", threshold=content.threshold)),
                )
                for i, history in enumerate(content.histories)
            ],
            trainings=[
                (
                    one,
                    [
                        Markup(training_chart(name, lines, ident=f"t{i}{j}"))
                        for j, (name, lines) in enumerate(one.panels)
                    ],
                )
                for i, one in enumerate(content.trainings)
            ],
            data=Markup(prompt_data(content)),
            has_prompts=bool(content.prompts),
            manifests=[(label, _flat(manifest)) for label, manifest in content.manifests],
        )
    )


def _chart(curves: Sequence[Curve], classes: dict[str, str], ident: str, content: ReportContent) -> dict[str, Any]:
    bands = any(c.low for c in curves if c.kind == "forecast")
    caption = CAPTIONS[ident].format(metric=content.metric, bounds=BANDS[bands], conditions=content.conditions)
    description = content.verdict if ident == "near" else caption
    name = {"near": f"{content.metric} @k", "exact": "verbatim @k"}.get(ident, "leak@k")
    ks = sorted({k for c in curves if c.kind != "greedy" for k in c.k})
    values = {c.label: dict(zip(c.k, _cells(c), strict=True)) for c in curves}
    lines = [c for c in curves if c.kind != "greedy"]
    kinds = {c.label: c.kind for c in curves}
    greedy = {c.of or c.label: c.value[0] for c in curves if c.kind == "greedy"}
    without = [c for c in curves if "original" not in (c.kind, kinds.get(c.of))]
    zoomed = without if without and ceiling(without) < ceiling(curves) else []

    small_values = curves if log_helps(curves, ceiling(curves)) else []

    def draw(shown: Sequence[Curve], suffix: str, width: int, height: int, log: bool = False) -> Markup:
        svg = curve_chart(
            shown,
            classes=classes,
            width=width,
            height=height,
            labels=width > 600,
            y_name=name,
            ident=f"{ident}-{suffix}",
            threshold=content.threshold if ident == "near" else math.nan,
            threshold_k=content.threshold_k,
            limit=content.limit if ident == "near" else None,
            description=description,
            log=log,
        )
        return Markup(svg)

    return {
        "ident": ident,
        "caption": caption,
        "wide": draw(curves, "w", 860, 440),
        "small": draw(curves, "s", 400, 360),
        "zoom_wide": draw(zoomed, "zw", 860, 440),
        "zoom_small": draw(zoomed, "zs", 400, 360),
        "log_wide": draw(small_values, "lw", 860, 440, log=True),
        "log_small": draw(small_values, "ls", 400, 360, log=True),
        "legend": [{**e, "sample": Markup(e["sample"])} for e in legend(curves, classes)],
        "ks": ks,
        "lines": [(c, Number(greedy.get(c.label, math.nan)), [values[c.label].get(k, "") for k in ks]) for c in lines],
        "greedy": bool(greedy),
    }


def _cells(curve: Curve) -> list[Number]:
    nan = (math.nan,) * len(curve.k)
    return [Number(v, a, b) for v, a, b in zip(curve.value, curve.low or nan, curve.high or nan, strict=True)]


def prompt_data(content: ReportContent) -> str:
    """The per-prompt data as JSON that is safe inside a <script> element: no "<", no NaN, nothing invisible.

    At most `DATA_BUDGET` bytes: when the texts are more, each prompt keeps its most leaking and most frequent ones
    (their order in `groups`), and the counts of what was left out are stored and shown.
    """
    views = sorted(content.prompts, key=lambda p: (bool(p.probe), -p.leak if p.leak == p.leak else 1.0))
    aside = {curve.label for curve in content.curves if curve.kind in ("original", "reference")}  # shown last
    models = sorted(dict.fromkeys(p.model for p in content.prompts), key=lambda name: name in aside)
    probes = list(dict.fromkeys(["", *(p.probe for p in content.prompts)]))
    share = max(DATA_BUDGET / max(len(views), 1), 4_000.0)
    left = float(DATA_BUDGET)
    rows: list[str] = []
    whole = sum(_size(view) for view in views) < DATA_BUDGET
    for view in views:
        at = models.index(view.model), probes.index(view.probe)
        row = _prompt_row(view, *at, content.leak_threshold, math.inf if whole else share)
        if len(row.encode()) > left:
            break
        left -= len(row.encode())
        rows.append(row)
    head = {
        "k": content.headline_k,
        "threshold": content.leak_threshold,
        "metric": visible(content.metric, lines=False),
        "models": [visible(m, lines=False) for m in models],
        "probes": [visible(probe, lines=False) for probe in probes],
        "omitted": len(views) - len(rows),
    }
    return f'{_json(head)[:-1]},"prompts":[{",".join(rows)}]}}'


def _size(view: PromptView) -> int:
    """Roughly its bytes in the page."""
    return (
        200
        + sum(min(len(g.text), MAX_TEXT) + 40 + _thought(g) for g in view.groups)
        + 2 * len(view.question + view.answer + view.greedy)
    )


def _thought(group: TextGroup) -> int:
    return min(len(group.thought.text), MAX_TEXT) if group.thought else 0


def _prompt_row(view: PromptView, model: int, probe: int, threshold: float, room: float) -> str:
    groups: list[list[Any]] = []
    used = 0.0
    for group in view.groups:
        used += min(len(group.text.encode("utf-8", "replace")), MAX_TEXT) + 40
        if used > room and groups:
            break
        row = [_text(group.text), group.count, _round(group.score), _round(group.logprob)]
        if group.thought is not None:
            used += min(len(group.thought.text.encode("utf-8", "replace")), MAX_TEXT)
            row += [_text(group.thought.text), _round(group.thought.score), group.thoughts]
        groups.append(row)
    return _json(
        {
            "m": model,
            "w": probe,
            "id": visible(view.id, lines=False),
            "mark": view.mark,
            "q": _text(view.question),
            "a": _text(view.answer),
            "leak": _round(view.leak),
            "greedy": _text(view.greedy),
            "gs": _round(view.greedy_score),
            "facts": [visible(fact) for fact in view.facts],
            "n": sum(g.count for g in view.groups),
            "hits": sum(g.count for g in view.groups if g.score >= threshold),
            "distinct": len(view.groups),
            "groups": groups,
        }
    )


def _text(text: str) -> str:
    shown = visible(text[:MAX_TEXT])
    return shown if len(text) <= MAX_TEXT else f"{shown}… [{len(text) - MAX_TEXT:,} more characters]"


def _round(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _json(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _flat(manifest: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested mappings as dotted keys; every value as text."""
    rows: list[tuple[str, str]] = []
    for key, value in manifest.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            rows += _flat(value, f"{name}.")
        else:
            rows.append((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)))
    return rows


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"


def _sort_key(cell: Cell) -> str:
    """What a column is sorted by: the number, or the text; "" (last) when missing."""
    if isinstance(cell, str):
        return cell
    return "" if math.isnan(cell.value) else repr(float(cell.value))


@cache
def _package_text(name: str) -> str:
    return files("leakatk.report").joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("leakatk", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: visible(value) if type(value) is str else value,  # whatever the template forgets
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        line=lambda text: visible(text, lines=False),
        number=number,
        duration=_duration,
        sort_key=_sort_key,
    )
    environment.tests["number_cell"] = lambda cell: isinstance(cell, Number)
    environment.tests["numeric_column"] = lambda index, table: is_numeric(table, index)
    environment.globals["isnan"] = math.isnan
    return environment
