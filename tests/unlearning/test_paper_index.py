"""docs/paper-index.md says what is there, and nothing else."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from leakatk.benchmarks.catalog import BENCHMARKS
from leakatk.probes import PROBES
from leakatk.scorers.base import SCORERS
from leakatk.unlearning.methods import METHODS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "paper-index.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not beside the tests")


def rows(columns):
    lines = [re.split(r" *\| *", line.strip("| ")) for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    return [line for line in lines if len(line) >= columns - 1]


def test_every_method_is_listed_with_its_paper_and_defaults():
    listed = {row[0].strip("`"): row for row in rows(4) if row[0].startswith("`")}
    assert set(listed) == set(METHODS)
    for name in METHODS:
        method = METHODS[name]
        assert listed[name][1] == method.paper
        for key, value in method.identity.items():  # per=answer is said once, above the table
            assert (
                f"{key} {value:g}" in listed[name][2]
                if isinstance(value, float)
                else f"{key} {value}" in listed[name][2]
            )


def test_what_is_said_to_work_is_there():
    systems = [line for line in PAGE.read_text().splitlines() if re.match(r"\| \d+x? \|", line)]
    assert len(systems) == 121
    claimed = [line for line in systems if "| works |" in line or "| in part |" in line]
    assert claimed
    assert all("| not yet |" in line for line in systems if line not in claimed)
    for line in claimed:
        names = re.findall(r"`([^`]+)`", line)
        assert names, line
        for name in names:
            if name.startswith("leakatk."):
                import_module(name)
            else:
                assert name in METHODS or name in BENCHMARKS or name in SCORERS or name in PROBES, name
