"""docs/add-a-scorer.md does what it says: its code blocks are run as they stand."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leakatk.registry import Registry
from leakatk.scorers import SCORERS, Scorer

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-scorer.md"


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the example registers goes into a registry of its own, beside all that was there."""
    known = Registry[type[Scorer]](SCORERS.kind)
    for name in SCORERS:
        known.add(name, SCORERS[name])
    monkeypatch.setattr("leakatk.scorers.base.SCORERS", known)
    monkeypatch.setattr("leakatk.scorers.SCORERS", known)
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


def test_worked_example(blocks: list[str]) -> None:
    scorer, uses, row = blocks
    names: dict[str, Any] = {"__name__": "trigrams_example"}
    exec(scorer, names)
    calls = [line for line in uses.splitlines() if line.startswith("score_texts(")]
    exec(uses, names)
    for line in calls:
        call, _, shown = line.partition("#")
        value = float(re.search(r"\[(.*)\]", shown)[1])  # type: ignore[index]
        assert eval(call, names)[0] == pytest.approx(value, abs=0.005)
    assert len(calls) == 2
    case = eval(row, {"Case": lambda *parts: parts, "NAN": np.nan})
    for reference, said, expected in case[1]:
        np.testing.assert_equal(names["score_texts"](case[0], [reference], [said])[0], expected)
    lines = [line for line in scorer.splitlines() if line.strip()]
    assert len(lines) <= 20
