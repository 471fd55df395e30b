import csv
import io
import math
import re

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
    for part in ("Leak", "SimNPO", "0.014", "0.114", "[0.041, 0.203]", "–", "48 prompts"):
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
    assert "| SimNPO | 0.014 | 0.114 \\[0.041, 0.203\\] | a\\_b |" in text


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
    assert r"SimNPO & 0.014 & 0.114 {\footnotesize [0.041, 0.203]} & a\_b \\" in text
    assert r"50\% \& more" in text
    assert "& -- &" in text


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
    assert ("[0.400," in words) == ("Intervals are left out" not in text)
