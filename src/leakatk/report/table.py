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
    head = " | ".join(escaped(name) for name in table.columns)
    align = " | ".join("---:" if is_numeric(table, i) else "---" for i in range(len(table.columns)))
    lines = [f"**{escaped(table.title)}**", ""] if table.title else []
    lines += [f"| {head} |", f"| {align} |"]
    lines += [f"| {' | '.join(escaped(str(cell)) for cell in row)} |" for row in table.rows]
    if table.caption:
        lines += ["", escaped(table.caption)]
    return "\n".join(lines) + "\n"


def to_html(table: Table) -> str:
    """A plain table of HTML with its title and caption; whatever the cells hold stays text."""
    title = html_paragraph(table.title) if table.title else ""
    caption = html_paragraph(table.caption) if table.caption else ""
    return title + html_table(table.columns, [[str(cell) for cell in row] for row in table.rows]) + caption


_MARKDOWN = str.maketrans({**{c: "\\" + c for c in "\\`*_[]|#~!$"}, "<": "&lt;", ">": "&gt;", "&": "&amp;"})


def escaped(text: str) -> str:
    """The text for Markdown: nothing in it is markup."""
    return visible(text, lines=False).translate(_MARKDOWN)


def to_csv(table: Table) -> str:
    """Full precision; a column with intervals becomes three (name, name low, name high), and one with standard deviations has
    them beside it (name sd). Missing: an empty field.

    Text that a spreadsheet would run as a formula is prefixed with an apostrophe.
    """
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    intervals = [any(isinstance(cell, Number) and cell.has_interval for cell in column) for column in columns]
    spreads = [any(isinstance(cell, Number) and cell.spread for cell in column) for column in columns]
    header: list[str] = []
    for name, wide, spread in zip(table.columns, intervals, spreads, strict=True):
        name = _spreadsheet(name)
        header += [name, *([f"{name} low", f"{name} high"] if wide else []), *([f"{name} sd"] if spread else [])]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in table.rows:
        fields: list[str] = []
        for cell, wide, spread in zip(row, intervals, spreads, strict=True):
            values = [_spreadsheet(cell)] if isinstance(cell, str) else [_plain(cell.value)]
            if wide:
                values += ["", ""] if isinstance(cell, str) else [_plain(cell.low), _plain(cell.high)]
            if spread:
                values += [""] if isinstance(cell, str) else [_plain(cell.sd)]
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
    "±": r"$\pm$",
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
    lines = [r"\begin{table}[t]", r"  \centering", rf"  \caption{{{latex_text(table.title)}}}" if table.title else ""]
    lines += [rf"  \begin{{tabular}}{{{columns}}}", r"    \toprule"]
    lines += ["    " + " & ".join(map(latex_text, table.columns)) + r" \\", r"    \midrule"]
    lines += ["    " + " & ".join(map(_latex_cell, row)) + r" \\" for row in table.rows]
    lines += [r"    \bottomrule", r"  \end{tabular}"]
    lines += [rf"  \par\smallskip{{\footnotesize {latex_text(table.caption)}}}"] if table.caption else []
    lines += [r"\end{table}"]
    return "\n".join(line for line in lines if line) + "\n"


def latex_text(text: str) -> str:
    # An opening bracket or a star after a line's end would be read as an option of it.
    return ("{}" if text[:1] in ("[", "*") else "") + "".join(map(_latex_char, visible(text, lines=False)))


def _latex_char(char: str) -> str:
    if char in _LATEX:
        return _LATEX[char]
    plain = char.isascii() or ("\xa1" <= char <= "\xff" and char not in _NOT_IN_LATEX)
    return char if plain else rf"$\langle$U+{ord(char):04X}$\rangle$"


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return latex_text(cell)
    return latex_text(f"{number(cell.value, cell.digits)} {cell.spread}".rstrip()) + (
        rf" {{\footnotesize {cell.interval}}}" if cell.has_interval else ""
    )
