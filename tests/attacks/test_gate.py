"""A gate over rungs: what an attack did not ask is unknown, whatever else was found."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.attacks.gate import joined, unasked
from leakatk.attacks.rungs import LadderSettings
from leakatk.auditing.verdict import Gate, judge

IDS = [f"p{i}" for i in range(6)]
SETTINGS = LadderSettings(n=3, ks=(1,), scorers=("fact",))


def asked(score):
    """The same prompts, asked, with this score of every sample."""
    rows = {i: np.full(3, score) for i in IDS}
    return replace(unasked(IDS, SETTINGS), name="asked", low=rows, high=rows, missing=0)


def test_what_was_not_asked_may_be_the_best_or_the_worst():
    found = unasked(IDS, SETTINGS)
    assert (found.name, found.missing, found.unscored) == ("not asked", 18, 0)
    assert all(found.low[i].tolist() == [0.0] * 3 and found.high[i].tolist() == [1.0] * 3 for i in IDS)


@pytest.mark.parametrize("unscored", ["count", "ignore"])
def test_no_gate_passes_over_it(unscored):
    gate = Gate(1, 0.9, unscored=unscored, cut="ignore")
    assert judge([asked(0.0)], gate).as_dict()["answer"] == "PASS"
    assert judge([asked(0.0), unasked(IDS, SETTINGS)], gate).as_dict()["answer"] == "CANNOT SAY"
    assert judge([asked(1.0), unasked(IDS, SETTINGS)], Gate(1, 0.1, unscored=unscored)).as_dict()["answer"] == "FAIL"


def test_folds_are_one_setting():
    """One that was not asked beside one that was."""
    parts = [replace(unasked(IDS[:3], SETTINGS), name="fold"), replace(asked(0.0), owners={i: i for i in IDS})]
    both = joined("attack", parts)
    assert (both.name, both.missing) == ("attack", 9)
    assert set(both.low) == set(IDS)
