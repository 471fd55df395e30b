"""The notebook runs from its first cell to its last, in a kernel of its own, and is kept without outputs."""

import json
import sys

import pytest

from leakatk.prompts import load_prompts
from tests.docs.desk import ROOT
from tests.tiny import save_tiny_model

PAGE = ROOT / "docs" / "quickstart.ipynb"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")


@pytest.fixture(scope="module")
def notebook():
    return pytest.importorskip("nbformat").read(PAGE, as_version=4)


def test_it_is_kept_without_outputs(notebook):
    """What stands under a cell is of whoever runs it."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert cells
    assert all(not cell.outputs and cell.execution_count is None for cell in cells)


def test_its_links_lead_somewhere(notebook):
    import re

    text = "".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    names = re.findall(r"\]\(([^)]+)\)", text)
    assert names
    assert all((PAGE.parent / name).exists() for name in names)


@pytest.mark.timeout(300)
def test_it_runs(notebook, tmp_path):
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    save_tiny_model(tmp_path / "models" / "mine")
    # A kernel of this interpreter, whatever kernels are installed.
    spec = tmp_path / "jupyter" / "kernels" / "python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "here", "language": "python"}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
        patch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
        client = nbclient.NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}})
        done = client.execute()
    said = [
        "".join(one.get("text", "") or one.get("data", {}).get("text/plain", "") for one in cell.outputs)
        for cell in done.cells
        if cell.cell_type == "code"
    ]
    assert "left out: {'no value': ('Bo Tarn, phone',)}" in said[0]
    assert "leak@1: 0.33" in said[2]  # (1 + 0 + 3) of 12 answers
    assert "leak@4: 0.67" in said[2]  # two of three questions
    assert "16: 0.0" in said[3]  # a tiny model knows nothing
    assert all(
        f"{prompt.question} | " in said[4] for prompt in load_prompts(tmp_path / "runs" / "notebook" / "prompts.jsonl")
    )
    run = tmp_path / "runs" / "notebook"
    assert (run / "results.json").exists()
    assert len(load_prompts(run / "prompts.jsonl")) == 3
