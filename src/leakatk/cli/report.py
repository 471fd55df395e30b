"""leakatk report: make the report of one run, or compare several, from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leakatk.cli import options

EXAMPLES = options.examples(
    "leakatk report runs/forgot",
    "leakatk report runs/npo runs/rule runs/retrained --out compare.html",
)


def add_to(app: typer.Typer) -> None:
    app.command("report", short_help="One HTML page about one run, or several compared.", epilog=EXAMPLES)(run)


def run(
    runs: Annotated[list[Path], typer.Argument(help="Audit run directories.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default report.html in the first run.")] = None,
    over: options.Over = "samples",
    chart: Annotated[Path | None, typer.Option(help="Also save the curve as .svg, .png or .pdf (extra plots).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number of the report as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--md", help="Print the table as markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Write one self-contained HTML page about audited runs and print their table."""
    from leakatk.data import write_atomic
    from leakatk.report.assemble import content_of, print_runs, read_audits
    from leakatk.report.html import render

    content = content_of(read_audits(runs), over=over)
    page = out or runs[0] / "report.html"
    write_atomic(page, render(content))
    if chart is not None:
        from leakatk.report.plots import save_chart

        save_chart(content.curves, chart)
    if as_json:
        from leakatk.report.export import to_json

        typer.echo(to_json(content))
    else:
        print_runs(runs, over=over, style="markdown" if markdown else "csv" if csv else "terminal")
    typer.echo(f"Report: {page}", err=True)
