import csv
import io
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from leakatk.report.content import Number, Table
from leakatk.report.table import to_csv, to_latex, to_markdown
from leakatk.report.terminal import print_table
from tests.report.hostile import HOSTILE

TABLE = Table(
    "Leak",
    ("model", "leak@1", "leak@128", "text"),
    (
        ("SimNPO", Number(0.0141), Number(0.114, 0.041, 0.203), "a_b"),
        ("retrained", Number(math.nan), Number(0.0, 0.0, 0.013), "50% & more"),
    ),
    "48 prompts",
)


def printed(table: Table, *, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="truecolor")
    with console.capture() as capture:
        print_table(table, console)
    return capture.get()


def test_print_table() -> None:
    text = printed(TABLE)
    for part in ("Leak", "SimNPO", "0.014", "0.114", "[0.041, 0.20]", "–", "48 prompts"):
        assert part in text


@pytest.mark.parametrize("hostile", HOSTILE[:-1])
def test_no_escape_of_a_model_reaches_the_terminal(hostile: str) -> None:
    harmless = printed(Table("t", ("c",), (("x",),)))
    text = printed(Table(hostile, (hostile,), ((hostile,),), hostile), width=4_000)
    # Rich's own styles use SGR sequences alone; nothing else may follow an ESC, and no C1 control may appear.
    assert set(_escapes(text)) <= set(_escapes(harmless))
    assert "\x9b" not in text
    assert "\x00" not in text
    assert "\x07" not in text
    if "[bold]" in hostile:
        assert "[bold]rich[/bold]" in text


def _escapes(text: str) -> list[str]:
    return [part[: part.find("m") + 1] or part for part in text.split("\x1b")[1:]]


def test_markdown() -> None:
    text = to_markdown(TABLE)
    assert "| model | leak@1 | leak@128 | text |" in text
    assert "| --- | ---: | ---: | --- |" in text
    assert "| SimNPO | 0.014 | 0.114 \\[0.041, 0.20\\] | a\\_b |" in text


def test_markdown_cells_cannot_break_out() -> None:
    text = to_markdown(Table("t", ("c",), tuple((h,) for h in HOSTILE)))
    lines = text.splitlines()
    assert len(lines) == 4 + len(HOSTILE)
    assert "<" not in text


def test_csv_holds_full_precision_and_intervals() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(TABLE))))
    assert rows[0] == ["model", "leak@1", "leak@128", "leak@128 low", "leak@128 high", "text"]
    assert rows[1] == ["SimNPO", "0.0141", "0.114", "0.041", "0.203", "a_b"]
    assert rows[2][1] == "", "missing is empty, not 0"


def test_csv_text_is_no_formula() -> None:
    rows = list(csv.reader(io.StringIO(to_csv(Table("t", ("c",), (("=1+1",), ("@x",), ("-2",)))))))
    assert [row[0] for row in rows[1:]] == ["'=1+1", "'@x", "'-2"]


def test_latex() -> None:
    text = to_latex(TABLE)
    assert r"\begin{tabular}{lrrl}" in text
    assert r"SimNPO & 0.014 & 0.114 {\footnotesize [0.041, 0.20]} & a\_b \\" in text
    assert r"50\% \& more" in text
    assert "& -- &" in text


def test_latex_says_what_stands_under_the_table() -> None:
    assert r"{\footnotesize 48 prompts}" in to_latex(TABLE)
    assert "footnotesize" not in to_latex(Table("t", ("c",), (("x",),)))


def latex_of(text: str) -> str:
    return to_latex(Table("t", ("c",), ((text,),))).splitlines()[7].strip()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a_b^2 & 50% of $3 #1 {x}~y", r"a\_b\textasciicircum{}2 \& 50\% of \$3 \#1 \{x\}\textasciitilde{}y \\"),
        ("[0.1] is no option", r"{}[0.1] is no option \\"),
        ("*starred", r"{}*starred \\"),
        ("naïve × 2 − ∞", r"naïve × 2 $-$ $\infty$ \\"),
        ("日", r"$\langle$U+65E5$\rangle$ \\"),
        ("\x1b", r"$\langle$U+241B$\rangle$ \\"),
    ],
)
def test_latex_text(text: str, shown: str) -> None:
    assert latex_of(text) == shown


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_latex_is_set_by_latex(tmp_path: Path) -> None:
    numbers = [Number(v) for v in (math.inf, -math.inf, math.nan, 1e-22)] + [Number(0.5, 0.4, 0.6)]
    texts = [*HOSTILE[:-1], "[x]", "*", "日本 → ≤", "«ð»", "a_b^c~d|e<f>", r"\input{x}", "50% & #1 $2"]
    tables = [Table(text, (text, text), tuple((text, number) for number in numbers), text) for text in texts]
    body = "\n".join(map(to_latex, [TABLE, *tables])).replace(r"\begin{table}[t]", r"\begin{table}[p]\clearpage")
    page = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n" + body + "\\end{document}\n"
    (tmp_path / "t.tex").write_text(page)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]


def test_latex_escapes_commands() -> None:
    assert r"\textbackslash{}input\{x\}" in to_latex(Table("t", ("c",), ((r"\input{x}",),)))


def ways(models: int) -> Table:
    cells = tuple(Number(0.5, 0.4, 0.6) for _ in range(6))
    rows = [(f"model {i}", way, "", *cells) for i in range(models) for way in ("as it stands", "worst case")]
    rows[0] = (*rows[0][:2], Number(0.25), *cells)
    return Table("t", ("model", "asked", "greedy", *(f"leak@{4**i}" for i in range(6))), tuple(rows), "The end.")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
@pytest.mark.parametrize("models", [1, 2, 6])
def test_every_terminal_shows_all_numbers_and_breaks_no_word(width: int, models: int) -> None:
    text = re.sub(r"\x1b\[[0-9;]*m", "", printed(ways(models), width=width))
    assert max(map(len, text.splitlines())) <= width
    words = text.split()
    for word in ("worst", "0.250", *(f"leak@{4**i}" for i in range(6)), "end."):
        assert word in words
    assert words.count("0.500") == 6 * 2 * models
    assert ("[0.40," in words) == ("Intervals are left out" not in text)
