"""LaTeX that fits a page: short names with arrows, the best in bold, mean and spread, booktabs.

What is too wide for the text is set smaller, then without its intervals, then in several parts one below the other. Widths are
estimated from those of Computer Modern, LaTeX's default type.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from leakatk.report.content import Cell, Number, Table
from leakatk.report.table import is_numeric, latex_text
from leakatk.text import number

TEXT_WIDTH = 345.0  # points, of LaTeX's article class in one column; those of conferences are wider
ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$", "": ""}
# Points of space on either side of a column, and of type, from the usual ones down.
SIZES = ((r"\normalsize", 10.0, 6.0), (r"\small", 9.0, 5.0), (r"\footnotesize", 8.0, 4.0), (r"\scriptsize", 7.0, 3.0))
_NARROW, _WIDE = frozenset("ijltfr.,:;'|!()[] "), frozenset("mwMW@%")


def fitted_latex(table: Table, short: Mapping[str, str] | None = None) -> str:
    r"""The table as LaTeX that fits the text of a page (needs \usepackage{booktabs}).

    short: column -> its short name; the others keep theirs.
    """
    short = short or {}
    best = best_cells(table)
    columns = list(range(len(table.columns)))
    for shown in (table, _plain(table)):
        said = " Intervals are left out: --style csv has them." if shown is not table and _has_intervals(table) else ""
        for size in SIZES:
            if _width(shown, columns, short, best, size) <= TEXT_WIDTH:
                return _set(shown, [columns], short, best, size, said)
    shown = _plain(table)
    return _set(shown, _panels(shown, short, best, SIZES[-1]), short, best, SIZES[-1], said)


def best_cells(table: Table) -> frozenset[tuple[int, int]]:
    """(row, column) of the best number of each column that has a better end, among rows of the same settings (the other texts of
    a row) that compete. Equal ones are all best; nothing is where all are equal, or alone.
    """
    texts = [i for i in range(1, len(table.columns)) if not is_numeric(table, i)]
    groups: dict[tuple[str, ...], list[int]] = {}
    for r, row in enumerate(table.rows):
        if r not in table.apart:
            groups.setdefault(tuple(str(row[i]) for i in texts), []).append(r)
    found = set()
    for column, better in enumerate(table.better):
        for rows in groups.values():
            values = {r: cell.value for r in rows if isinstance(cell := table.rows[r][column], Number)}
            values = {r: value for r, value in values.items() if not math.isnan(value)}
            if better and len(set(values.values())) > 1:
                top = min(values.values()) if better == "lower" else max(values.values())
                found |= {(r, column) for r, value in values.items() if value == top}
    return frozenset(found)


def _plain(table: Table) -> Table:
    """Without intervals."""
    nan = math.nan
    rows = (tuple(replace(c, low=nan, high=nan) if isinstance(c, Number) else c for c in row) for row in table.rows)
    return replace(table, rows=tuple(rows))


def _has_intervals(table: Table) -> bool:
    return any(isinstance(cell, Number) and cell.has_interval for row in table.rows for cell in row)


def _panels(table: Table, short: Mapping[str, str], best: frozenset[tuple[int, int]], size: tuple[str, float, float]) -> list[list[int]]:  # fmt: skip
    """The columns in parts that fit, each beginning with the texts; one number a part where even that is too wide."""
    texts = [i for i in range(len(table.columns)) if not is_numeric(table, i)]
    parts = [list(texts)]
    for column in (i for i in range(len(table.columns)) if i not in texts):
        wider = [*parts[-1], column]
        if parts[-1] != texts and _width(table, wider, short, best, size) > TEXT_WIDTH:
            parts.append([*texts, column])
        else:
            parts[-1] = wider
    return parts


def _set(
    table: Table,
    parts: Sequence[Sequence[int]],
    short: Mapping[str, str],
    best: frozenset[tuple[int, int]],
    size: tuple[str, float, float],
    said: str,
) -> str:
    command, points, space = size
    lines = [r"\begin{table}[t]", r"  \centering", rf"  {command}", rf"  \setlength{{\tabcolsep}}{{{space:g}pt}}"]
    lines += [rf"  \caption{{{latex_text(table.title)}}}"] if table.title else []
    for number_, columns in enumerate(parts):
        lines += [r"  \par\medskip"] if number_ else []
        aligned = "".join("r" if is_numeric(table, i) else "l" for i in columns)
        lines += [rf"  \begin{{tabular}}{{@{{}}{aligned}@{{}}}}", r"    \toprule"]
        lines += ["    " + " & ".join(_head(table, i, short) for i in columns) + r" \\", r"    \midrule"]
        lines += [
            "    " + " & ".join(_cell(row[i], (r, i) in best, points) for i in columns) + r" \\"
            for r, row in enumerate(table.rows)
        ]
        lines += [r"    \bottomrule", r"  \end{tabular}"]
    caption = f"{table.caption}{' Bold: the best.' if best else ''}{said}".strip()
    lines += [rf"  \par\smallskip{{\footnotesize {latex_text(caption)}}}"] if caption else []
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _head(table: Table, column: int, short: Mapping[str, str]) -> str:
    name = table.columns[column]
    arrow = ARROWS[table.better[column]] if table.better else ""
    return f"{latex_text(short.get(name, name))} {arrow}".rstrip()


def _cell(cell: Cell, best: bool, points: float) -> str:
    if isinstance(cell, str):
        return latex_text(cell)
    value = latex_text(number(cell.value, cell.digits))
    value = rf"\textbf{{{value}}}" if best else value
    small = r"\scriptsize" if points > 8 else r"\tiny"
    beside = [latex_text(cell.spread.rstrip())] if cell.spread else []
    beside += [cell.interval] if cell.has_interval else []
    return f"{value} {{{small} {' '.join(beside)}}}" if beside else value


def _width(
    table: Table, columns: Sequence[int], short: Mapping[str, str], best: frozenset[tuple[int, int]], size: tuple[str, float, float]
) -> float:  # fmt: skip
    """Points that a part takes, its outer margins left out, as LaTeX sets it."""
    _, points, space = size

    def cell(row: int, column: int) -> float:
        found = table.rows[row][column]
        if isinstance(found, str):
            return points_of(found, points)
        beside = " ".join(filter(None, (found.spread.rstrip(), found.interval)))
        bold = 1.15 if (row, column) in best else 1.0
        small = points_of(f" {beside}", 7.0 if points > 8 else 5.0) if beside else 0.0
        return bold * points_of(number(found.value, found.digits), points) + small

    total = 2 * space * (len(columns) - 1)
    for column in columns:
        head = points_of(short.get(table.columns[column], table.columns[column]), points)
        head += points if table.better and table.better[column] else 0.0
        total += max([head, *(cell(row, column) for row in range(len(table.rows)))])
    return total


def points_of(text: str, size: float) -> float:
    """Width of a text in points. A digit is half the size of the type; in smaller sizes letters are a little wider."""
    wide = dict.fromkeys(_WIDE, 0.85) | dict.fromkeys(_NARROW, 0.36)
    each = (wide.get(char, 0.74 if char.isupper() else 0.52) for char in re.sub(r"[±–]", "M", text))
    return sum(each) * size * (1.0 if size > 9 else 1.03 if size > 7 else 1.14 if size > 6 else 1.3)
