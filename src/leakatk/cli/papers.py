"""leakatk papers: the 121 systems of the field, what of each is here, and the command that runs it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import options

if TYPE_CHECKING:
    from leakatk.papers.index import Listed

EXAMPLES = options.examples(
    "leakatk papers",
    "leakatk papers 59",
    "leakatk papers --tag guard --status works",
    "leakatk papers undial --json",
)


def add_to(app: typer.Typer) -> None:
    app.command("papers", short_help="List the 121 systems of the field: what is here.", epilog=EXAMPLES)(run)


def _rows(incomplete: str) -> list[str]:
    from leakatk.papers.rows import ROWS

    return [row.number for row in ROWS if row.number.startswith(incomplete)]


def _tags(incomplete: str) -> list[str]:
    from leakatk.papers.rows import TAGS

    return [tag for tag in sorted(TAGS) if tag.startswith(incomplete)]


def _statuses(incomplete: str) -> list[str]:
    from leakatk.papers.index import STATUSES

    return [status for status in STATUSES if status.startswith(incomplete)]


def run(
    asked: Annotated[
        str,
        typer.Argument(
            metavar="[ROW]",
            help="One in detail: its number, its system, its arXiv number, or the name of what serves it.",
            show_default=False,
            autocompletion=_rows,
        ),
    ] = "",
    tag: Annotated[
        list[str] | None,
        typer.Option(help="Only rows with this tag (see docs/paper-index.md); may be repeated.", autocompletion=_tags),
    ] = None,
    status: Annotated[
        str, typer.Option(help="Only rows that are: works, in part, described, not yet.", autocompletion=_statuses)
    ] = "",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print docs/paper-index.md.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """List the systems of the field: number, status, what serves it here, and the command that runs it.

    The status is computed from what is registered. works: usable, with a test of its formula. in part: it is said what is
    missing. described: a survey or a theorem, nothing to run. not yet: nothing is there.
    """
    from leakatk.errors import InputError
    from leakatk.papers.index import chosen, counts, find, listed, page

    if markdown:
        if asked or tag or status or as_json:
            raise InputError("--markdown prints the whole page; give it alone.")
        typer.echo(page(), nl=False)
        return
    every = listed()
    rows = chosen(find(every, asked) if asked else every, tags=tag or (), status=status)
    if as_json:
        found = [one.as_dict() for one in rows]
        options.echo_json(found[0] if asked and len(found) == 1 else found)
    elif not rows:
        typer.echo("No row is like that.")
    elif asked and len(rows) == 1:
        typer.echo("\n".join(_detail(rows[0])))
    else:
        typer.echo("\n".join(_table(rows)))
        typer.echo(f"{counts(rows)}.")


def _table(rows: Sequence[Listed]) -> Iterator[str]:
    """One line a row; below it what serves it, what is missing, and the command that runs it."""
    width = max(len(one.row.number) for one in rows)
    for one in rows:
        yield f"{one.row.number:>{width}}  {one.status:<9}  {one.row.system}"
        margin = " " * (width + 13)
        if one.uses:
            yield margin + one.names() + (f"; lacks: {one.lacks}" if one.lacks else "")
            yield margin + one.uses[0].command


def _detail(one: Listed) -> Iterator[str]:
    row = one.row
    yield f"{row.number}: {row.system}" + (f" (arXiv {row.arxiv})" if row.arxiv else "")
    yield f"  what      {row.about}"
    yield f"  status    {one.status}"
    if one.lacks:
        yield f"  lacks     {one.lacks}"
    yield f"  tags      {', '.join(sorted(one.tags))}"
    if row.needs:
        yield f"  needs     {', '.join(sorted(row.needs))}"
    for use in one.uses:
        facts = use.facts
        yield f"  {use.kind.one:<9} {facts.name}: {facts.summary or facts.paper}"
        if facts.reading:
            yield f"            our reading: {facts.reading}"
        yield f"            {use.command}"
