"""LaTeX that fits a page: what is best by brute force, widths, parts, and braces that close."""

import itertools
import re
import shutil
import subprocess

import pytest

from leakatk.report.content import Number, Table
from leakatk.report.latex import SIZES, TEXT_WIDTH, best_cells, fitted_latex

ROWS = (
    ("full", "T=1", Number(0.9), Number(0.6)),
    ("npo", "T=1", Number(0.1), Number(0.5)),
    ("ga", "T=1", Number(0.1), Number(0.2)),
    ("simnpo", "T=1", Number(0.3), Number(float("nan"))),
    ("npo", "T=0.7", Number(0.05), Number(0.4)),
    ("ga", "T=0.7", Number(0.2), Number(0.55)),
)
TABLE = Table("leak", ("model", "decoding", "leak@1", "retain"), ROWS, better=("", "", "lower", "higher"), apart=(0,))


def test_the_best_is_bold_among_rows_of_one_setting():
    """Brute force: a cell is best where no competing cell of the same setting beats it, and there is one to beat."""
    wanted = set()
    for r, c in itertools.product(range(len(ROWS)), (2, 3)):
        rivals = [o for o in range(1, len(ROWS)) if o != r and ROWS[o][1] == ROWS[r][1]]
        values = [ROWS[o][c].value for o in rivals if ROWS[o][c].value == ROWS[o][c].value]
        mine = ROWS[r][c].value
        beats = all(mine <= v for v in values) if c == 2 else all(mine >= v for v in values)
        if r != 0 and mine == mine and values and beats:
            wanted.add((r, c))
    assert best_cells(TABLE) == wanted == {(1, 2), (2, 2), (4, 2), (1, 3), (5, 3)}
    text = fitted_latex(TABLE)
    assert text.count(r"\textbf{") == 5
    assert "Bold: the best." in text


def test_a_yardstick_and_one_row_alone_are_not_best():
    alone = Table(
        "t", ("model", "leak@1"), (("npo", Number(0.1)), ("retrained", Number(0.0))), better=("", "lower"), apart=(1,)
    )
    assert best_cells(alone) == frozenset()
    assert r"\textbf" not in fitted_latex(alone)


def test_short_names_arrows_and_spread():
    one = Table("t", ("model", "model_utility"), (("npo", Number(0.5, sd=0.02)),), better=("", "higher"))
    text = fitted_latex(one, {"model_utility": "MU"})
    assert r"MU $\uparrow$ \\" in text
    assert r"0.500 {\scriptsize $\pm$ 0.020}" in text
    assert r"\toprule" in text


def wide(columns, interval=True):
    ends = (0.1, 0.2) if interval else (float("nan"),) * 2
    names = tuple(f"leak@{2**i}" for i in range(columns))
    return Table("t", ("model", *names), (("npo", *(Number(0.15, *ends) for _ in names)),), caption="48 prompts.")


@pytest.mark.parametrize(("columns", "intervals", "parts"), [(2, True, 1), (5, True, 1), (8, False, 1), (30, False, 5)])
def test_what_is_too_wide_is_made_to_fit(columns, intervals, parts):
    text = fitted_latex(wide(columns))
    assert ("[0.10" in text) is intervals
    assert ("Intervals are left out" in text) is not intervals
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == parts
    heads = re.findall(r"leak@\d+", text)
    assert heads == [f"leak@{2**i}" for i in range(columns)], "no column is lost, and none stands twice"
    assert text.count("{") == text.count("}")


def test_type_shrinks_with_the_columns():
    used = [
        next(i for i, (command, _, _) in enumerate(SIZES) if f"  {command}\n" in fitted_latex(wide(n, False)))
        for n in range(1, 13)
    ]
    assert used == sorted(used)
    assert used[0] == 0
    assert used[-1] == len(SIZES) - 1


def test_the_estimate_is_of_computer_modern():
    """Against its published widths: 5.00 points a digit, 7.50 an A, 8.33 an m, at ten points."""
    from leakatk.report.latex import points_of

    assert points_of("0123456789", 10) == pytest.approx(50, rel=0.05)
    assert points_of("leakage of model", 10) == pytest.approx(
        2.78 + 4.44 + 5 + 5.28 + 5 + 5 + 4.44 + 3.33 + 5 + 3.06 + 3.33 + 8.33 + 5 + 5.56 + 4.44 + 2.78, rel=0.1
    )
    assert points_of("MU", 10) == pytest.approx(9.17 + 7.5, rel=0.1)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_nothing_sticks_out(tmp_path):
    body = "\n".join(fitted_latex(wide(n)).replace("[t]", "[p]") + r"\clearpage" for n in range(1, 32))
    (tmp_path / "t.tex").write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}" + body + r"\end{document}"
    )
    subprocess.run(["pdflatex", "-interaction=nonstopmode", "t.tex"], cwd=tmp_path, check=True, capture_output=True)
    assert "Overfull" not in (tmp_path / "t.log").read_text()
    assert TEXT_WIDTH == 345
