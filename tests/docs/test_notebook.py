"""The notebook's Python is run, cell by cell, and what its cells end with shows itself."""

import ast
import json
import shutil
from pathlib import Path

import pytest

from leakatk.benchmarks.worlds import generators
from leakatk.benchmarks.worlds.people import make_world
from tests.docs.desk import ROOT

NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
pytestmark = pytest.mark.skipif(not NOTEBOOK.exists(), reason="the documentation is not beside the tests")


def cells(kind):
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def shown(code, names):
    """Run a cell; what its last line is worth, None for a statement."""
    *before, last = ast.parse(code).body
    if not isinstance(last, ast.Expr):
        before, last = [*before, last], None
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_it_is_kept_without_outputs():
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells("code"))


def test_its_commands_are_those_of_the_quickstart():
    """Which run on that page: here tiny models stand in for what they make."""
    lines = [line for cell in cells("code") for line in cell["source"] if line.startswith("!")]
    assert len(lines) == 2
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8").splitlines()
    assert all(line.strip().removeprefix("!") in page for line in lines)


def test_every_cell_of_python_runs(desk, monkeypatch):
    sizes = {"forget": 1, "retain": 2, "retain_held": 1, "holdout": 1, "world_facts": 2, "pretraining": 40}
    monkeypatch.setattr(generators, "make_world", lambda seed: make_world(seed, **sizes))
    pyplot = pytest.importorskip("matplotlib.pyplot", reason="matplotlib is not installed (extra: plots)")
    shutil.copytree("models/mine", "models/simnpo")
    names, ends = {}, []
    for source in ("".join(cell["source"]) for cell in cells("code")):
        if not source.startswith("!"):
            ends.append(
                shown(
                    source.replace("n=64", "n=4").replace("tokens=48", "tokens=8").replace("[1, 4, 16, 64]", "[1, 4]"),
                    names,
                )
            )
    pyplot.close("all")
    drawn = [type(end).__name__ for end in ends if end is not None]
    assert drawn == ["tuple", "Results", "Axes", "Report", "PosixPath", "LeakCurve"]
    for end in (names["results"], names["page"], names["curve"]):
        assert "</table>" in end._repr_html_()
    answers = [prompt.answer for prompt in names["world"].forget]
    whole, redacted = (Path(name).read_text(encoding="utf-8") for name in ("report.html", "report-redacted.html"))
    assert all(answer in whole for answer in answers)
    assert not any(answer in redacted for answer in answers)
