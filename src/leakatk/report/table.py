"""Tables as Markdown, as CSV and as LaTeX; `terminal.py` prints it for people."""

from __future__ import annotations

import csv
import io
import math

from leakatk.report.content import Cell, Number, Table
from leakatk.text import html_paragraph, html_table, number, visible


def is_numeric(table: Table, column: int) -> bool:
    """True when the column holds at least one Number: it is then aligned to the right."""
    return any(isinstance(row[column], Number) for row in table.rows)


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table under its title; markup in the cells is escaped."""
    head = " | ".join(_markdown(name) for name in table.columns)
    align = " | ".join("---:" if is_numeric(table, i) else "---" for i in range(len(table.columns)))
    lines = [f"**{_markdown(table.title)}**", ""] if table.title else []
    lines += [f"| {head} |", f"| {align} |"]
    lines += [f"| {' | '.join(_markdown(str(cell)) for cell in row)} |" for row in table.rows]
    if table.caption:
        lines += ["", _markdown(table.caption)]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A plain table of HTML with its title and caption; whatever the cells hold stays text."""
    title = html_paragraph(table.title) if table.title else ""
    caption = html_paragraph(table.caption) if table.caption else ""
    return title + html_table(table.columns, [[str(cell) for cell in row] for row in table.rows]) + caption


_MARKDOWN = str.maketrans({**{c: "\\" + c for c in "\\`*_[]|#~!$"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"})


def _markdown(text: str) -> str:
    return visible(text, lines=False).translate(_MARKDOWN)


def to_csv(table: Table) -> str:
    """Full precision; a column with intervals becomes three (name, name low, name high). Missing: an empty field.

    Text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    intervals = [any(isinstance(cell, Number) and cell.has_interval for cell in column) for column in columns]
    header: list[str] = []
    for name, wide in zip(table.columns, intervals, strict=True):
        name = _spreadsheet(name)
        header += [name, f"{name} low", f"{name} high"] if wide else [name]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        fields: list[str] = []
        for cell, wide in zip(row, intervals, strict=True):
            values = [_spreadsheet(cell)] if isinstance(cell, str) else [_plain(cell.value)]
            if wide:
                values += ["", ""] if isinstance(cell, str) else [_plain(cell.low), _plain(cell.high)]
            fields += values
        writer.writerow(fields)
    return out.getvalue()


def _plain(value: float) -> str:
    return "" if math.isnan(value) else repr(float(value))


def _spreadsheet(text: str) -> str:
    text = visible(text)
    return "'" + text if text[:1] in ("=", "+", "-", "@") else text


_LATEX = {
    **{c: "\\" + c for c in "{}$&#%_"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "–": "--",
    "—": "---",
    "−": "$-$",
    "∞": r"$\infty$",
    "…": r"\ldots{}",
    "⟨": r"$\langle$",
    "⟩": r"$\rangle$",
}
_NOT_IN_LATEX = "«»ÐÞðþ"  # of Latin-1, what LaTeX's default font encoding lacks


def to_latex(table: Table) -> str:
    """A booktabs table (needs \\usepackage{booktabs}); intervals stand in small type after the value.

    Plain pdfLaTeX can set it: a character beyond Latin-1 is written as its code.
    """
    columns = "".join("r" if is_numeric(table, i) else "l" for i in range(len(table.columns)))
    lines = [r"\begin{table}[t]", r"  \centering", rf"  \caption{{{_latex(table.title)}}}" if table.title else ""]
    lines += [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
    lines += ["    " + " & ".join(map(_latex, table.columns)) + r" \\", r"    \midrule"]
    lines += ["    " + " & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\smallskip{{\footnotesize {_latex(table.caption)}}}"] if table.caption else []
    lines += [r"\end{table}"]
    return "\n".join(line for line in lines if line) + "\n"


def _latex(text: str) -> str:
    # An opening bracket or a star after a line's end would be read as an option of it.
    return ("{}" if text[:1] in ("[", "*") else "") + "".join(map(_latex_char, visible(text, lines=False)))


def _latex_char(char: str) -> str:
    if char in _LATEX:
        return _LATEX[char]
    plain = char.isascii() or ("\xa1" <= char <= "\xff" and char not in _NOT_IN_LATEX)
    return char if plain else rf"$\langle$U+{ord(char):04X}$\rangle$"


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return _latex(cell)
    return _latex(number(cell.value, cell.digits)) + (
        rf" {{\footnotesize {cell.interval}}}" if cell.has_interval else ""
    )
