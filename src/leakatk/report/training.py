"""Training curves in a report: the losses of every step and what the checks found, from the record beside the model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from leakatk.errors import InputError, LeakAtKError
from leakatk.files.strict_json import strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.report.content import Line, Training
from leakatk.text import number, visible

FILE = "training.json"  # beside an audit, where the report finds it when the model is gone
MOST = 300  # points of a curve; a longer one is drawn by means of as many parts
# Panel -> the columns of the record that it draws, and their names.
PANELS: Mapping[str, Mapping[str, str]] = {
    "loss": {"forget": "forget loss", "retain": "retain loss"},
    "checks": {"forget": "greedy forget", "utility": "greedy retain"},
    "learning rate": {"lr": "learning rate"},
}
_HEAD, _FOOT, _LEFT, _RIGHT, _HEIGHT = 26, 40, 64, 12, 190


def keep_training(model: Path, out: Path) -> str:
    """Copy what a report draws of the model's training into `out`; nothing where the model has no record.

    A sentence where the record is damaged, which is no reason to lose an audit; "" otherwise.
    """
    record = model / "unlearning.json"
    if not record.exists():
        return ""
    try:
        found = read_kept(record)
    except LeakAtKError as error:
        return f"The report has no training curves: {error}"
    kept = {name: found.get(name) for name in ("method", "steps", "seconds", "stopped", "log", "checks")}
    write_kept(out / FILE, strict_json(kept) + "\n")
    return ""


def training_of(path: Path, label: str) -> Training | None:
    """The curves that `path` (a training.json) holds; None where it is not there or holds no step."""
    if not path.exists():
        return None
    record = read_kept(path)
    rows = {"loss": record.get("log") or [], "checks": record.get("checks") or []}
    rows["learning rate"] = rows["loss"]
    panels = []
    for panel, columns in PANELS.items():
        lines = [_line(rows[panel], column, name) for column, name in columns.items()]
        known = tuple(line for line in lines if line is not None)
        if known:
            panels.append((panel, known))
    if not panels:
        return None
    how = f": {record['stopped']}" if record.get("stopped") else ""
    seconds = record.get("seconds") or 0.0
    return Training(
        f"Training of {label}",
        tuple(panels),
        f"{record.get('method', '')}, {record.get('steps', 0):,} steps in {seconds:.0f} s{how}.",
    )


def _line(rows: Sequence[Mapping[str, Any]], column: str, name: str) -> Line | None:
    points = [
        (float(row["step"]), float(row[column]))
        for row in rows
        if isinstance(row.get(column), int | float) and math.isfinite(row[column])
    ]
    if not points:
        return None
    parts = min(MOST, len(points))
    cut = [points[i * len(points) // parts : (i + 1) * len(points) // parts] for i in range(parts)]
    steps = tuple(part[-1][0] for part in cut)
    return Line(name, steps, tuple(sum(value for _, value in part) / len(part) for part in cut))


def training_chart(panel: str, lines: Sequence[Line], *, width: int = 420, ident: str = "training") -> str:
    """An <svg>: the lines of one panel against the step. InputError without a line."""
    if not lines:
        raise InputError(f"Nothing to draw of {panel}: there is no line.")
    last = max(line.step[-1] for line in lines)
    first = min(line.step[0] for line in lines)
    values = [value for line in lines for value in line.value]
    low, high = min(0.0, *values), max(values)
    low, high = (low, high) if high > low else (low, low + 1.0)
    x0, x1, y0, y1 = _LEFT, width - _RIGHT, _HEIGHT - _FOOT, _HEAD

    def x(step: float) -> float:
        return x0 + (x1 - x0) * (step - first) / max(last - first, 1.0)

    def y(value: float) -> float:
        return y0 - (y0 - y1) * (value - low) / (high - low)

    says = "; ".join(f"{line.name} from {number(line.value[0])} to {number(line.value[-1])}" for line in lines)
    out = [
        f'<svg class="leak" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" role="img" aria-labelledby="{ident}-t {ident}-d">'
        f'<title id="{ident}-t">{escape(panel)} against the step</title><desc id="{ident}-d">{escape(says)}</desc>'
    ]
    for part in range(3):
        value = low + (high - low) * part / 2
        css = "axis" if part == 0 else "grid"
        out.append(f'<line class="{css}" x1="{x0}" x2="{x1}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        out.append(f'<text class="dim" x="{x0 - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.3g}</text>')
    for step, anchor in ((first, "start"), (last, "end"))[: 1 + (last > first)]:
        out.append(f'<text class="dim" x="{x(step):.1f}" y="{y0 + 18}" text-anchor="{anchor}">step {step:,.0f}</text>')
    for place, line in enumerate(lines):
        path = "L".join(f"{x(step):.1f} {y(value):.1f}" for step, value in zip(line.step, line.value, strict=True))
        dash = "" if place == 0 else ' stroke-dasharray="5 4"'
        out.append(f'<g class="s{place}"><path class="trace" d="M{path}"{dash}/>')
        if len(line.step) == 1:
            out.append(f'<circle class="dot" cx="{x(line.step[0]):.1f}" cy="{y(line.value[0]):.1f}" r="4"/>')
        at = x0 + place * (x1 - x0) / 2
        out.append(f'<path class="trace" d="M{at:.1f} 10h18"{dash}/></g>')
        out.append(f'<text x="{at + 24:.1f}" y="14">{escape(visible(line.name, lines=False))}</text>')
    return "".join([*out, "</svg>"])
