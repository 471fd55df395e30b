"""leakatk report: make the report of one run, or compare several, from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import gating, options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.report.content import Table

EXAMPLES = options.examples(
    "leakatk report runs/forgot",
    "leakatk report runs/npo runs/rule runs/retrained --out compare.html --svg compare.svg",
    "leakatk report runs/forgot --redact --hash-ids --pdf forgot.pdf",
    "leakatk report runs/2026-* --history",
    "leakatk report results --csv",
)


def add_to(app: typer.Typer) -> None:
    app.command("report", short_help="One HTML page about one run, or several compared.", epilog=EXAMPLES)(run)


def run(
    runs: Annotated[list[Path], typer.Argument(help="Audit run directories, or what `leakatk bench` wrote.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The HTML file; default report.html (report-redacted.html) in the first directory."),
    ] = None,
    over: options.Over = "samples",
    pdf: Annotated[
        Path | None, typer.Option("--pdf", help="Also print the whole report to a PDF file, by an installed Chromium.")
    ] = None,
    redact: Annotated[
        bool, typer.Option("--redact", help="Leave out true answers and the model's texts: for what leaves the room.")
    ] = False,
    hash_ids: Annotated[
        bool, typer.Option("--hash-ids", help="Redact the questions too, and show ids of prompts as hashes.")
    ] = False,
    history: Annotated[
        bool, typer.Option("--history", help="Put all runs in a row by date, whatever they are called.")
    ] = False,
    svg: Annotated[Path | None, typer.Option("--svg", help="Also save the curve as SVG.")] = None,
    png: Annotated[Path | None, typer.Option("--png", help="Also save the curve as PNG (extra plots).")] = None,
    chart_pdf: Annotated[
        Path | None, typer.Option("--chart-pdf", help="Also save the curve alone as PDF (extra plots).")
    ] = None,
    summary: gating.SummaryFile = None,
    junit: gating.JUnitFile = None,
    inspect: Annotated[
        Path | None,
        typer.Option(
            "--inspect",
            metavar="FILE",
            help="Also save the one run as a log of Inspect (.eval or .json, extra inspect).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every number of the report as JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--md", help="Print the table as markdown.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
    config: Config = None,
) -> None:
    """Write one self-contained HTML page about audited runs and print their table.

    Runs of one model at several decodings become a heat map, audits of one model on several days a history. A directory that
    `leakatk bench` wrote stands for all its runs, with the benchmark's own numbers (utility, privacy) beside the leak.
    """
    if as_json + markdown + csv > 1:
        raise InputError("Give one of --json, --md and --csv.")
    for option, path in (("svg", svg), ("png", png), ("pdf", pdf), ("chart-pdf", chart_pdf)):
        suffix = f".{option[-3:]}"
        if path is not None and path.suffix.lower() != suffix:
            raise InputError(f"--{option} {path}: the file must end in {suffix}.")
    gating.check_files(summary, junit)
    if inspect is not None and (redact or hash_ids):
        raise InputError("--inspect saves questions, answers and samples; leave it out where the report is redacted.")
    from leakatk.files.writing import write_atomic
    from leakatk.report.assemble import content_of, print_runs
    from leakatk.report.audited import read_audits
    from leakatk.report.html import render
    from leakatk.report.pdf import find_browser, save_pdf
    from leakatk.report.redaction import Redaction

    if pdf is not None:
        find_browser()
    redacted = redact or hash_ids
    page = out or runs[0] / ("report-redacted.html" if redacted else "report.html")
    with options.reading(*runs):
        places, tables = opened(runs)
        audits = read_audits(places)
        if inspect is not None and len(audits) != 1:
            raise InputError(f"--inspect saves one run, and there are {len(audits)}; give one of them.")
        redaction = Redaction.of(audits, hash_ids=hash_ids) if redacted else None
        content = content_of(audits, over=over, tables=tables, redaction=redaction, history=history)
        made = render(content)
        write_atomic(page, made)
        if pdf is not None:
            save_pdf(made, pdf)
        for path in (svg, png, chart_pdf):
            if path is not None:
                from leakatk.report.plots import save_chart

                save_chart(content.curves, path, threshold=content.threshold)
        verdicts = [redaction.of_strings(one.results) if redaction else one.results for one in audits]
        gating.write(verdicts, summary=summary, junit=junit)
        if inspect is not None:
            from leakatk.report.inspect_log import save_inspect

            count = save_inspect(audits[0], inspect)
            typer.echo(
                f"Inspect: {inspect}, {count:,} samples as asked, with questions and answers; probes are not in it.",
                err=True,
            )
        if as_json:
            from leakatk.report.export import to_json

            typer.echo(to_json(content))
        else:
            style = "markdown" if markdown else "csv" if csv else "terminal"
            print_runs(places, over=over, style=style, redaction=redaction)
    typer.echo(f"Report: {page}" + (f" and {pdf}" if pdf else ""), err=True)
    if redaction:
        typer.echo(redaction.sentence, err=True)


def opened(paths: list[Path]) -> tuple[list[Path], list[Table]]:
    """(run directories, tables of benchmark results): a directory of benchmark results stands for the runs in it."""
    places: list[Path] = []
    tables: list[Table] = []
    for path in paths:
        if not (path / "results.parquet").exists():
            places.append(path)
            continue
        from leakatk.bench.results import layouts_of, read_rows, results_table

        rows = read_rows(path)
        places += sorted(file.parent for file in path.glob("cells/*/results.json"))
        tables += [results_table(rows, layout) for layout in layouts_of(rows) if layout not in ("leak", "probes")]
    return places, tables
