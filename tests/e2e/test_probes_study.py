"""studies/probes.py: every way of asking has its row, and a page's table is replaced."""

import json
import runpy
import sys
from pathlib import Path

import pytest

from tests.docs.desk import end_soon
from tests.tiny import save_tiny_model

STUDY = Path(__file__).resolve().parents[2] / "studies" / "probes.py"
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not STUDY.exists(), reason="the studies are not beside the tests")]


def test_table(tmp_path, monkeypatch, capsys):
    end_soon(save_tiny_model(tmp_path / "models" / "seed-0" / "models" / "full"))
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n<!-- plain -->\nold\n<!-- end -->\nafter\n")
    command = (
        STUDY,
        "--models",
        tmp_path / "models",
        "--out",
        tmp_path / "out",
        "--seeds",
        0,
        "--names",
        "full",
        "--n",
        16,
    )
    monkeypatch.setattr(sys, "argv", [str(part) for part in (*command, "--page", page)])
    monkeypatch.syspath_prepend(STUDY.parent)  # as Python does for a script
    runpy.run_path(str(STUDY), run_name="__main__")
    rows = json.loads((tmp_path / "out" / "probes.json").read_text())
    assert len(rows) == 12
    assert all(row["leak"] == [0.0, 0.0, 0.0] for row in rows), "a random model knows nothing"
    text = page.read_text()
    assert text.startswith("# Page\n\n<!-- plain -->\nleak@16:")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "old" not in text
    assert text.count("| prefix |") == 2
    assert text.count("| worst case |") == 1
    assert "prefix" in capsys.readouterr().out
