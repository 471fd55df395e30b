"""leakatk runs list and remove: which run directories there are, and the end of those that are no longer needed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import options
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.runs.directories import RunDirectory

LIST_EXAMPLES = options.examples("leakatk runs list", "leakatk runs list runs --json")
REMOVE_EXAMPLES = options.examples("leakatk runs remove runs/forgot", "leakatk runs remove runs/forgot runs/old --yes")


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True, add_help_option=False, help="List run directories, or remove some.", epilog=LIST_EXAMPLES
    )
    group.callback()(_group)
    group.command(
        "list", short_help="What there is: what, when, which model, size, finished or not.", epilog=LIST_EXAMPLES
    )(listed)
    group.command("remove", short_help="Remove run directories, and nothing else.", epilog=REMOVE_EXAMPLES)(remove)
    app.add_typer(group, name="runs")


def _group(help_: options.Help = False) -> None:
    """A callback, so that --help is this library's own."""


def listed(
    directory: Annotated[Path, typer.Argument(help="Where to look; all below it is looked at.")] = Path(),
    as_json: options.AsJson = False,
) -> None:
    """List the run directories at or below a place: what each holds, when it was begun, of which model, its size, finished or not.

    They hold what was to be forgotten. A note says which of them git would commit, or other users may read.
    """
    from leakatk.runs.directories import below
    from leakatk.runs.exposure import exposed

    found = below(directory)
    if as_json:
        options.echo_json([one.as_dict() for one in found])
    elif not found:
        typer.echo(f"No run directory at or below {directory}.")
    else:
        typer.echo("\n".join(_table(found)))
        typer.echo(_sum(found))
    options.say_notes(exposed(one.path for one in found))


def remove(
    directories: Annotated[list[Path], typer.Argument(help="Run directories, as `leakatk runs list` shows them.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Remove run directories, after asking. All are looked at first: one that may not be removed keeps all of them.

    Refused: what no leakatk command has made, a part of a run, a link, a directory with files of your own in it, and one that
    is being written.
    """
    from leakatk.runs import directories as those
    from leakatk.text import visible

    found = [those.check_removable(path) for path in directories]
    if doubled := [
        path for path in directories if [other.resolve() for other in directories].count(path.resolve()) > 1
    ]:
        raise InputError(f"{doubled[0]} is given twice.")
    typer.echo("\n".join(_table(found)), err=True)
    if not yes:
        if not sys.stdin.isatty():
            raise InputError("Nobody is there to be asked; add --yes to remove these. Nothing was changed.")
        if not typer.confirm(f"Remove {_sum(found)[:-1]}? What is removed cannot be brought back.", err=True):
            typer.echo("Nothing was removed.", err=True)
            return
    gone = [those.remove(one.path) for one in found]
    if as_json:
        options.echo_json([one.as_dict() for one in gone])
    else:
        typer.echo(f"Removed: {', '.join(visible(str(one.path), lines=False) for one in gone)}.")


def _table(found: Sequence[RunDirectory]) -> list[str]:
    from leakatk.progress import format_bytes
    from leakatk.text import shorten, visible

    def state(one: RunDirectory) -> str:
        if one.damaged:
            return f"damaged: {shorten(one.damaged, 100)}"
        here = (
            f" ({one.samples[0]:,} of {one.samples[1]:,} samples)"
            if one.samples and one.samples[0] < one.samples[1]
            else ""
        )
        return "finished" if one.finished else f"not finished{here}"

    rows = [("directory", "what", "begun (UTC)", "model", "size", "state")]
    rows += [
        (str(one.path), one.kind, f"{one.created:%Y-%m-%d %H:%M}", shorten(one.model, 40) or "-", format_bytes(one.size), state(one))
        for one in found
    ]  # fmt: skip
    plain = [[visible(cell, lines=False) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in plain) for i in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in plain]


def _sum(found: Sequence[RunDirectory]) -> str:
    from leakatk.progress import format_bytes

    half = sum(not one.finished for one in found)
    rest = f", {half:,} of them not finished" if half else ""
    many = "directory" if len(found) == 1 else "directories"
    return f"{len(found):,} run {many}{rest}, {format_bytes(sum(one.size for one in found))}."
