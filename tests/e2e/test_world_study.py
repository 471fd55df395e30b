"""The world study runs from end to end, goes on where it was, and its page is made from its cells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "world.py"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not STUDY.exists(), reason="the studies are not beside the tests"),
    pytest.mark.timeout(900),
]


def run(*words):
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_the_study_and_its_page(tmp_path):
    where = ("--out", tmp_path / "out", "--work", tmp_path / "work")
    study = (STUDY, *where, "--quick", "--seeds", "0", "--methods", "idknll,orpo", "--bases", "idknll", "--calibrated")
    run(*study)
    cells = tmp_path / "out" / "seed-0" / "cells"
    names = {path.stem for path in cells.glob("*.json")}
    twins = {f"{kind}-idknll{twin}" for kind in ("rule", "calibrated") for twin in ("", "-control")}
    assert names == {"full", "retrained", "idknll", "orpo", *twins}
    full = json.loads((cells / "full.json").read_text(), parse_constant=pytest.fail)
    assert len(full["leak"]["asked"]["T=1"]["fact"]) == 12
    (cells / "idknll.json").unlink()
    again = run(*study)
    assert "idknll" in again.stderr
    assert " retrained: " not in again.stderr
    places = {"--page": tmp_path / "page.md", "--calibrated": tmp_path / "calibrated.md"}
    words = [word for pair in places.items() for word in pair]
    printed = run(ROOT / "studies" / "world_tables.py", "--out", tmp_path / "out", *words).stdout
    assert all(place.read_text() in printed for place in places.values())
    for heading in (
        "## RULE beside its control",
        "## Every method",
        "IdkNLL",
        "| orpo |",
        "not run: ",
        "it is the yardstick itself",
    ):
        assert heading in places["--page"].read_text()
    for heading in ("## Is the aim met?", "## Beside its control", "IdkNLL"):
        assert heading in places["--calibrated"].read_text()
