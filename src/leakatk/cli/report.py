"""leakatk report: make the report of one run, or compare several, from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leakatk.cli import options

EXAMPLES = """
Examples:

    leakatk report runs/forgot

    leakatk report runs/npo runs/rule runs/retrained --out compare.html
"""


def add_to(app: typer.Typer) -> None:
    app.command("report", epilog=EXAMPLES)(run)


def run(
    runs: Annotated[list[Path], typer.Argument(help="Audit run directories.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file; default report.html in the first run.")] = None,
    over: options.Over = "samples",
    markdown: Annotated[bool, typer.Option("--md", help="Print the table as markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Write one self-contained HTML page about audited runs and print their table."""
    from leakatk.report.assemble import print_runs, write_report

    page = write_report(runs, out or runs[0] / "report.html", over=over)
    print_runs(runs, over=over, style="markdown" if markdown else "csv" if csv else "terminal")
    typer.echo(f"Report: {page}", err=True)
