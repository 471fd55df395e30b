"""docs/add-a-scorer.md does what it says: its code blocks are run as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leakatk.scorers import SCORERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-scorer.md"


@pytest.fixture
def blocks() -> Iterator[list[str]]:
    yield re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    SCORERS._items.pop("trigrams", None)


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
