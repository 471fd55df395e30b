"""leakatk methods, scorers, probes ...: what there is of each kind, and what each is."""

from __future__ import annotations

from collections.abc import Callable

import typer

from leakatk.cli import options
from leakatk.cli.kinds import KINDS, described, items_of, summary_of
from leakatk.papers.kinds import Kind
from leakatk.registry import facts_of


def add_to(app: typer.Typer) -> None:
    for name, kind in KINDS.items():
        app.command(
            name,
            help=f"List {kind.what}, or describe one: source, formula, defaults and an example.",
            short_help=f"List {kind.what}, or describe one.",
            epilog=options.examples(f"leakatk {name}", f"leakatk {name} {kind.shown}".strip()),
        )(_command(name, kind))


def _command(plural: str, kind: Kind) -> Callable[..., None]:
    # As a default and not an annotation: typer evaluates those where `plural` is unknown.
    asked = typer.Argument(
        "", help="One of them; without it all are listed.", show_default=False, autocompletion=options.named(plural)
    )

    def show(
        name: str = asked,
        as_json: options.AsJson = False,
    ) -> None:
        from leakatk.errors import UnknownNameError

        items = items_of(kind)
        if name and name not in items:
            raise UnknownNameError(kind.one, name, items)
        if as_json:
            every = {item: described(kind, item, items[item]) for item in ([name] if name else sorted(items))}
            options.echo_json(every[name] if name else every)
        elif name:
            typer.echo(f"{name}: {summary_of(facts_of(name, items[name]))}")
            for title, text in described(kind, name, items[name]).items():
                if title not in ("name", "summary"):
                    typer.echo(f"  {title:<9} " + text.replace("\n", "\n" + " " * 12))
        else:
            width = max(map(len, items))
            for item in sorted(items):
                typer.echo(f"{item:<{width}}  {summary_of(facts_of(item, items[item]))}")

    return show
