"""leakatk methods | scorers | engines | benchmarks: what there is, and what each is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Annotated, Any

import typer


def _methods() -> dict[str, Any]:
    from leakatk.unlearning.methods import METHODS

    return {name: METHODS[name] for name in METHODS}


def _scorers() -> dict[str, Any]:
    from leakatk.scorers.base import SCORERS

    return {name: SCORERS[name] for name in SCORERS}


def _engines() -> dict[str, Any]:
    from leakatk.sampling.engines import ENGINES

    return {name: ENGINES[name] for name in ENGINES}


def _benchmarks() -> dict[str, Any]:
    from leakatk.benchmarks.catalog import BENCHMARKS

    return {name: BENCHMARKS[name] for name in BENCHMARKS}


def _protocols() -> dict[str, Any]:
    from leakatk.protocols import PROTOCOLS

    return {name: PROTOCOLS[name] for name in PROTOCOLS}


KINDS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "methods": (_methods, "List the unlearning methods, or describe one: paper, defaults, formula."),
    "scorers": (_scorers, "List the core metrics, or describe one."),
    "engines": (_engines, "List the sampling engines, or describe one."),
    "benchmarks": (_benchmarks, "List the benchmarks, or describe one."),
    "protocols": (_protocols, "List the protocols, or say what one changes."),
}


def add_to(app: typer.Typer) -> None:
    for kind, (load, text) in KINDS.items():
        app.command(kind, help=text)(_command(kind, load))


def _command(kind: str, load: Callable[[], dict[str, Any]]) -> Callable[[str], None]:
    def show(name: Annotated[str, typer.Argument(help="One of them; without it all are listed.")] = "") -> None:
        from leakatk.errors import UnknownNameError

        items = load()
        if name and name not in items:
            raise UnknownNameError(kind.removesuffix("s"), name, items)
        if name:
            typer.echo(describe(name, items[name]))
            return
        width = max(len(item) for item in items)
        for item in sorted(items):
            typer.echo(f"{item:<{width}}  {summary(items[item])}")

    return show


def summary(item: Any) -> str:
    """One line about an item: its own words, a method's paper, or the first line of its docstring."""
    text = _own_words(item) or inspect.getdoc(item) or ""
    return text.strip().splitlines()[0] if text.strip() else ""


def _own_words(item: Any) -> str:
    words = getattr(item, "summary", "") or getattr(item, "paper", "")
    return words if isinstance(words, str) else ""


def describe(name: str, item: Any) -> str:
    """Name, text, and every plain field of the item; of nested settings those that differ from their defaults."""
    lines = [name, _own_words(item) or (inspect.getdoc(item) or "").strip()]
    for field in getattr(item, "__dataclass_fields__", {}):
        value = getattr(item, field, None)
        if field in ("name", "summary", "paper") or callable(value) or value in (None, "", (), {}):
            continue
        lines.append(f"  {field}: {_plain(value)}")
    return "\n".join(lines)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if is_dataclass(value):
        changed = {
            f.name: getattr(value, f.name)
            for f in fields(value)
            if getattr(value, f.name) != f.default or f.name == "lr"
        }
        return _plain(changed) or "the defaults"
    if isinstance(value, tuple):
        return "; ".join(map(_plain, value))
    return str(value)
