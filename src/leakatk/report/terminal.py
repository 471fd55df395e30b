"""Tables in the terminal, in the form that fits its width."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from leakatk.output import styled
from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import is_numeric
from leakatk.text import number, visible

PIPED = 120  # columns where no terminal says how many it has


def terminal() -> Console:
    """Stdout: as wide as the terminal, or as COLUMNS says."""
    out = styled(sys.stdout)  # rich styles what `visible` has made harmless
    console = Console(file=out)
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(file=out, width=PIPED)


def print_table(table: Table, console: Console) -> None:
    """Print it, whole or in the forms that fit. Text is shown as text: neither rich markup nor terminal escapes in it act."""
    forms = fitting(table, console.width)
    for form in forms:
        console.print(_rich(form))
    if without_intervals(table) != table and all(without_intervals(form) == form for form in forms):
        console.print("Intervals are left out: the terminal is too narrow.", style="dim")


def fitting(table: Table, columns: int) -> list[Table]:
    """The table as it is, else turned round: first with intervals unbroken, then over two lines, then without. When none fits, a
    table for each model, or one for each half of the columns."""
    bare = without_intervals(table)
    for form, broken in ((table, False), (transposed(table), False), (table, True), (transposed(table), True),
                         (bare, False), (transposed(bare), False)):  # fmt: skip
        if form.rows and width(form, broken=broken) <= columns:
            return [form]
    labelled = len(table.columns) > 2 and not is_numeric(table, 1)  # something is left to tell the rows of a part by
    if table.rows and labelled:
        return [form for part in parts(table) for form in fitting(part, columns)]
    if len(table.columns) < 3:
        return [bare]
    half = (len(table.columns) + 1) // 2
    left, right = _columns(table, range(half)), _columns(table, (0, *range(half, len(table.columns))))
    return [*fitting(replace(left, caption=""), columns), *fitting(replace(right, title=""), columns)]


def _columns(table: Table, keep: Sequence[int]) -> Table:
    rows = tuple(tuple(row[i] for i in keep) for row in table.rows)
    return replace(table, columns=tuple(table.columns[i] for i in keep), rows=rows)


def width(table: Table, *, broken: bool = True) -> int:
    """Columns of a terminal that show it without a break inside a word. broken: an interval may stand on two lines."""

    def lines(i: int) -> list[str]:
        return [table.columns[i], *(line for row in table.rows for line in str(_cell(row[i])).split("\n"))]

    def longest(i: int) -> int:
        whole = is_numeric(table, i) and not broken
        head, *cells = lines(i)
        return max(map(len, [*head.split(), *(cells if whole else " ".join(cells).split())]), default=0)

    every = range(len(table.columns))
    level = max(map(longest, every))  # rich takes from the widest columns until the table fits
    return sum(min(max(map(len, lines(i))), level) + 3 for i in every) + 1


def transposed(table: Table) -> Table:
    """Rows for columns: readable in a terminal when there are many numbers and few models."""
    numbers = [i for i in range(len(table.columns)) if is_numeric(table, i)]
    names = (" ".join(str(cell) for i, cell in enumerate(row) if i not in numbers) for row in table.rows)
    rows = tuple((table.columns[i], *(row[i] for row in table.rows)) for i in numbers)
    return Table(title=table.title, columns=("", *names), rows=rows, caption=table.caption)


def without_intervals(table: Table) -> Table:
    """The values alone."""
    rows = tuple(
        tuple(replace(c, low=math.nan, high=math.nan) if isinstance(c, Number) and c.has_interval else c for c in r)
        for r in table.rows
    )
    return replace(table, rows=rows)


def parts(table: Table) -> list[Table]:
    """One table for each value of the first column, which moves into the title. The caption stays under the last."""
    names = list(dict.fromkeys(str(row[0]) for row in table.rows))
    return [
        Table(
            title=f"{table.title}: {name}",
            columns=table.columns[1:],
            rows=tuple(row[1:] for row in table.rows if str(row[0]) == name),
            caption=table.caption if name == names[-1] else "",
        )
        for name in names
    ]


def _rich(table: Table) -> RichTable:
    rich = RichTable(
        title=Text(visible(table.title, lines=False)) if table.title else None,
        caption=Text(visible(table.caption, lines=False)) if table.caption else None,
        title_justify="left",
        caption_justify="left",
    )
    for i, name in enumerate(table.columns):
        right = is_numeric(table, i)
        rich.add_column(Text(visible(name, lines=False)), justify="right" if right else "left", overflow="fold")
    for row in table.rows:
        rich.add_row(*map(_cell, row))
    return rich


def _cell(cell: Cell) -> Text:
    if isinstance(cell, str):
        return Text(visible(cell, lines=False))
    text = Text(number(cell.value, cell.digits))
    if cell.spread:
        text.append(f" {cell.spread.rstrip()}", style="dim")
    if cell.has_interval:
        text.append(f"\n{cell.interval}", style="dim")
    return text
