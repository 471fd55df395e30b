"""Results and reports for notebooks: they show themselves, and draw themselves on axes of matplotlib."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leakatk.estimate.plotting import axes_for, draw_curve
from leakatk.files.writing import write_atomic
from leakatk.report.assemble import content_of
from leakatk.report.audited import read_audits
from leakatk.report.chart import standalone_svg
from leakatk.report.content import Curve, Number, ReportContent, Table
from leakatk.report.headline import gate_line, headline
from leakatk.report.html import render
from leakatk.report.pdf import save_pdf
from leakatk.report.plots import draw
from leakatk.report.redaction import Redaction
from leakatk.report.table import to_html
from leakatk.runs.results import AuditResults
from leakatk.runs.store import Run
from leakatk.text import html_paragraph


@dataclasses.dataclass(frozen=True)
class Report:
    """Report of audited runs; the last line of a notebook's cell shows its verdict, its chart and its first table.

    What it shows there are numbers alone: a notebook that is saved holds no answers and no samples of it.
    """

    content: ReportContent
    """Everything on the page, as data."""

    @property
    def _near(self) -> list[Curve]:
        """The curves up to n, in one picture."""
        return [curve for curve in self.content.curves if curve.kind not in ("forecast", "exact")]

    def _repr_html_(self) -> str:
        content = self.content
        said = [f"{one.answer} {one.label}: {one.why}" for one in content.openings]
        parts = [html_paragraph(text) for text in (*said, content.verdict)]
        if near := self._near:
            parts.append(standalone_svg(near, y_name=f"{content.metric} @k", threshold=content.threshold))
        parts += [to_html(table) for table in content.tables[:1]]
        return "<div>" + "".join(parts) + "</div>"

    def plot(self, ax: Any = None) -> Any:
        """Draw leak@k of all models, and a gate as a line, on matplotlib's axes, new ones where none are given; returns them (extra plots)."""
        ax = axes_for(ax)
        draw(self._near, ax, f"{self.content.metric} @k", self.content.threshold)
        return ax

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the page."""
        return self.content.tables

    def save(self, path: str | Path) -> Path:
        """Write the whole page: HTML, or for a name that ends in .pdf what an installed Chromium prints of it."""
        path = Path(path)
        page = render(self.content)
        if path.suffix.lower() == ".pdf":
            save_pdf(page, path)
        else:
            write_atomic(path, page)
        return path


def report(
    *runs: str | Path | Run | Results,
    over: str = "samples",
    redact: bool = False,
    hash_ids: bool = False,
    history: bool = False,
) -> Report:
    """Make the report of one audited run, or of several compared; nothing is sampled or scored.

    runs: directories of audits, open runs, or what `audit` returned.
    over: what the intervals are over: "samples", "prompts" or "both".
    redact: leave out true answers and the model's texts, for what leaves the room.
    hash_ids: leave out the questions too, and show ids of prompts as hashes.
    history: put all runs in a row by date, whatever they are called.

    Raises InputError for a run that was sampled but never audited.

    >>> import leakatk as lk
    >>> lk.audit("models/mine", lk.load_prompts("forget.jsonl"), out="runs/told", n=4, quiet=True).path.name
    'told'
    >>> page = lk.report("runs/told", redact=True)
    >>> page.save("mine.html").name
    'mine.html'
    """
    audits = read_audits([run if isinstance(run, str | Path) else run.path for run in runs])
    redaction = Redaction.of(audits, hash_ids=hash_ids) if redact or hash_ids else None
    return Report(content_of(audits, over=over, redaction=redaction, history=history))


class Results(dict[str, Any]):
    """Results of an audit: the dictionary that results.json holds, which shows itself in a notebook.

    path: the directory of the run.
    """

    def __init__(self, values: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(values)
        self.path = Path(path)

    @property
    def typed(self) -> AuditResults:
        """The same with names and types."""
        return AuditResults.from_dict(self)

    def table(self, over: str = "samples") -> Table:
        """leak@k of every scorer, with intervals over samples, prompts or both."""
        found = {name: block.curves for name, block in self.typed.scorers.items()}
        rows = tuple(
            (name, str(k), Number(curve.value[i], curve.low[i], curve.high[i]))
            for name, curves in found.items()
            if (curve := curves.get(over)) is not None
            for i, k in enumerate(curve.k)
        )
        return Table("", ("scorer", "k", "leak@k"), rows)

    def _repr_html_(self) -> str:
        results = self.typed
        gate = f"{results.gate.answer}: {gate_line(results)}" if results.gate else ""
        said = [html_paragraph(text) for text in (gate, headline(results)) if text]
        return "<div>" + "".join(said) + to_html(self.table()) + "</div>"

    def plot(self, ax: Any = None, *, over: str = "samples") -> Any:
        """Draw leak@k of every scorer on matplotlib's axes, new ones where none are given; returns them (extra plots)."""
        ax = axes_for(ax)
        for name, block in self.typed.scorers.items():
            if curve := block.curves.get(over):
                draw_curve(ax, curve.k, curve.value, curve.low, curve.high, label=f"{self['label']}, {name}")
        return ax

    def report(self, **options: Any) -> Report:
        """The whole report of the run; options as `leakatk.report`."""
        return report(self, **options)
