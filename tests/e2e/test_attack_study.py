"""The study of attacks and guards runs from end to end, goes on where it was, and its page is made from its cells."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STUDY = ROOT / "studies" / "attacks.py"
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
    where = ("--out", tmp_path / "out", "--work", tmp_path / "work", "--tuned", tmp_path / "tuned")
    attacks = "relearn:steps=5;decoder;quantise:bits=4"
    study = (STUDY, *where, "--quick", "--seeds", "0", "--models", "idknll", "--attacks", attacks, "--guards", "curate")
    run(*study)
    kept = tmp_path / "out" / "seed-0"
    cells = {path.stem for path in (kept / "idknll").glob("*.json")}
    assert cells == {"none", "relearn-steps=5", "decoder", "quantise-bits=4"}
    full = json.loads((kept / "full" / "none.json").read_text(), parse_constant=pytest.fail)
    assert len(full["fact"]) == 12
    assert sum(full["fact"].values()) > 0  # it was never made to forget
    (kept / "idknll" / "decoder.json").unlink()
    again = run(*study)
    assert "idknll decoder" in again.stderr
    assert "full none" not in again.stderr
    place = tmp_path / "page.md"
    printed = run(ROOT / "studies" / "attacks_tables.py", "--out", tmp_path / "out", "--page", place).stdout
    assert place.read_text() in printed
    for heading in (
        "## The ladder",
        "quantise-bits=4",
        "## What the inside still holds",
        "## Behind a guard",
        "curate",
    ):
        assert heading in place.read_text()


def test_the_study_of_metrics_and_its_page(tmp_path):
    where = ("--out", tmp_path / "out", "--work", tmp_path / "work", "--tuned", tmp_path / "tuned")
    run(ROOT / "studies" / "trust.py", *where, "--quick", "--seeds", "0", "--models", "idknll")
    kept = tmp_path / "out" / "seed-0"
    assert {f"{path.parent.name} {path.stem}" for path in kept.glob("*/*.json")} == {
        f"{name} {change}" for name in ("full", "retrained", "idknll") for change in ("none", "quantised", "relearned")
    }
    place = tmp_path / "page.md"
    run(ROOT / "studies" / "trust_tables.py", "--out", tmp_path / "out", "--page", place)
    rows = [line for line in place.read_text().splitlines() if line.startswith("| greedy, fact |")]
    assert "| 2 + 2 |" in rows[0]
    assert rows[0].endswith("| 1 |")
