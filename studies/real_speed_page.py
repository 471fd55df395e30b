"""Section of docs/results-real.md on speed, from the cells alone."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from real_cells import Numbers, Store

from leakatk.progress import format_seconds
from leakatk.report.content import Number, Table
from leakatk.report.table import to_markdown

CASES = {
    "pretrained": "as it comes: {n} samples of {prompts} prompts",
    "memorised": "twenty facts by heart: {n} samples of {prompts} prompts",
    "greedy": "as it comes: greedy answers to {prompts} prompts",
}
PRODUCTS = ("layers: linear products", "output head")


def section(store: Store) -> str:
    """The section as Markdown."""
    made = {"sampling": sampling, "training": training, "demo": demo}
    parts = [make(store) if store.path(name).exists() else f"{name}: not run.\n" for name, make in made.items()]
    return "\n".join(["## Speed\n", *parts])


def sampling(store: Store) -> str:
    """Tokens a second beside `generate`, and what the engine's time is spent on."""
    rows = store.numbers("sampling")["rows"]
    table = Table(
        "",
        ("sampling", "tokens/s of one core", "`generate`", "ratio", "answer tokens a computed row"),
        tuple(
            (
                CASES[row["model"]].format(**row),
                Number(row["native tok/s"], digits=0),
                Number(row["generate tok/s"], digits=0),
                Number(row["ratio"], digits=1),
                Number(row["tokens a row-step"], digits=1),
            )
            for row in rows
        ),
    )
    names = list(dict.fromkeys(name for row in rows for name in row["profile"]))
    shares = Table(
        "",
        ("share of the engine's time", *(row["model"] for row in rows)),
        tuple((name, *(Number(row["profile"].get(name, 0.0), digits=2) for row in rows)) for name in names),
    )
    return f"""Tokens of answers by processor seconds of one thread, median of {rows[0]["runs"]} runs of both engines in turn, {rows[0]["dtype"]}, T = 1. `generate` of transformers samples 32 rows of a prompt at once, or answers 32 prompts greedily.

{to_markdown(table)}
{to_markdown(shares)}
{ceiling(store, rows)}"""


def ceiling(store: Store, rows: list[Mapping[str, Any]]) -> str:
    """What would be left if everything but the model's products cost nothing."""
    bounds = ", ".join(
        f"{row['model']} {row['ratio'] / sum(row['profile'].get(name, 0.0) for name in PRODUCTS):.1f}" for row in rows
    )
    said = f"If all but the model's linear products cost nothing, the ratios would be: {bounds}."
    if not store.path("products").exists():
        return said + "\n"
    found = store.numbers("products")
    steps = ", ".join(f"{rate:.0f} of a step of {count} rows" for count, rate in found["steps"].items())
    return (
        f"{said} Such products reach {found['square']:.0f} GFLOP/s in bf16 on one thread here (2048 x 2048, 2048 rows); those of "
        f"the model's layers {steps}.\n"
    )


def training(store: Store) -> str:
    """Tokens a second and memory of training beside the Trainer."""
    cells = ["training", *(["training-npo"] if store.path("training-npo").exists() else [])]
    found = [row for name in cells for row in store.numbers(name)["rows"]]
    made: list[tuple[str | Number, ...]] = []
    for dtype, engine in dict.fromkeys((row["dtype"], row["engine"]) for row in found):
        of = [row for row in found if (row["dtype"], row["engine"]) == (dtype, engine)]
        theirs = [row for row in found if (row["dtype"], row["engine"]) == (dtype, "Trainer")]
        compared: str | Number = "–"
        if engine == "ours: retrain":
            ratios = [a["tokens/CPU s"] / b["tokens/CPU s"] for a, b in zip(of, theirs, strict=True)]
            compared = Number(median(ratios), digits=2)
        made.append(
            (
                dtype,
                "transformers' Trainer" if engine == "Trainer" else engine,
                Number(median(row["tokens/CPU s"] for row in of), digits=0),
                compared,
                Number(max(row["peak GB"] for row in of), digits=1),
            )
        )
    table = Table("", ("precision", "training", "tokens/s of one core", "ratio", "peak GB"), tuple(made))
    how: Numbers = (store.read("training") or {})["settings"]
    return f"""Training on rows of TOFU's lengths, {how["batch"]} forget and {how["batch"]} retain answers a step where a method takes both, AdamW over float32 weights, in a process each, {how["turns"]} turns: tokens of questions and answers by processor seconds, and the most memory of the process.

{to_markdown(table)}"""


def demo(store: Store) -> str:
    """The demo's time and what it found."""
    found = store.numbers("demo")
    spent, given = found["spent"], found["table"]
    rows = tuple(tuple(number(c) if isinstance(c, Mapping) else c for c in row) for row in given["rows"])
    table = Table("", tuple(given["columns"]), rows, given["caption"])
    jobs = ", ".join(f"{name} {format_seconds(seconds)}" for name, seconds in spent["seconds"].items())
    notes = "\n".join(f"* {note}" for note in found["notes"])
    return f"""`leakatk demo --real` at its default size, two processes: {format_seconds(spent["wall"])}. Forecast before it began: “{found["forecast"]}” Seconds by job: {jobs}.

{to_markdown(table)}
{found["verdict"]}

{notes}
"""


def number(found: Mapping[str, Any]) -> Number:
    """A cell of a table that was kept as JSON, in which what is missing is null."""
    return Number(**{name: math.nan if value is None else value for name, value in found.items()})
