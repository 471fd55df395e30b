"""Gates under attack: folds of a rung are one setting, only what was sampled without giving the answer away counts, and what an attack
did not ask is unknown, whatever else was found."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from leakatk.attacks.gate import excess_verdict, joined, unasked
from leakatk.attacks.ladder import attack_ladder
from leakatk.attacks.rungs import LadderSettings, Rung
from leakatk.auditing.settings import Gate
from leakatk.auditing.verdict import Setting, judge
from leakatk.errors import InputError
from leakatk.estimate.leak import excess
from leakatk.prompts import Known
from tests.tiny import PROMPTS


def setting(name, **scores):
    rows = {i: np.array(row, dtype=float) for i, row in scores.items()}
    return Setting(
        name=name, low=rows, high=rows, owners={i: i for i in rows}, exact=False, unscored=1, missing=2, cut=3, ignored=4,
        scored=5,
    )  # fmt: skip


def test_folds_are_joined_and_what_each_lacks_is_added():
    one = joined("relearn", [setting("T=1", a=[0, 1]), setting("T=1", b=[1, 1])])
    assert (one.name, list(one.low), one.samples) == ("relearn", ["a", "b"], 4)
    assert (one.unscored, one.missing, one.cut, one.ignored, one.scored) == (2, 4, 6, 8, 10)


def test_the_excess_is_paired_under_the_same_attack(monkeypatch):
    """By name of the rung and by prompt, whatever the order in the retrained model's run."""
    mine = {"none": setting("none: T=1", a=[0, 0], b=[0, 1]), "relearn": setting("relearn: T=1", a=[1, 1], b=[1, 0])}
    theirs = {"none": setting("none: T=1", b=[0, 0], a=[0, 0]), "relearn": setting("relearn: T=1", b=[0, 1], a=[0, 0])}

    def settings_of(rung, out, settings, gate, role, asked):
        return [(mine if role == "model" else theirs)[rung.name]]

    monkeypatch.setattr("leakatk.attacks.gate._settings", settings_of)
    rungs = [
        SimpleNamespace(name=name, attack=None, gives_answer=name == "given") for name in ("none", "relearn", "given")
    ]
    found = excess_verdict(rungs, None, LadderSettings(n=2), Gate(1, 0.3, against="retrained"))
    curve = excess([[1, 1], [1, 0]], [[0, 0], [0, 1]], 1, level=found["each_level"])
    assert len(found["settings"]) == 2, "a way of asking that gives the answer away does not count"
    relearned = found["settings"][1]
    assert (relearned["name"], relearned["low"], relearned["high"]) == ("relearn: T=1", curve.low[0], curve.high[0])
    assert found["each_level"] == pytest.approx(0.975)
    assert found["against"] == "retrained"


def test_what_a_gate_on_the_excess_needs(tmp_path):
    gate = Gate(4, 0.1, against="retrained")
    with pytest.raises(InputError, match="k = 4 needs at least as many samples"):
        LadderSettings(n=2, excess_gate=gate)
    with pytest.raises(InputError, match="needs the retrained model"):
        attack_ladder("m", PROMPTS, ["quantise"], out=tmp_path / "o", settings=LadderSettings(n=4, excess_gate=gate))
    assert Rung(None, (Known(),)).name == "none"


IDS = [f"p{i}" for i in range(6)]
SETTINGS = LadderSettings(n=3, ks=(1,), scorers=("fact",))


def asked(score):
    """The same prompts, asked, with this score of every sample."""
    rows = {i: np.full(3, score) for i in IDS}
    return replace(unasked(IDS, SETTINGS), name="asked", low=rows, high=rows, missing=0, scored=18)


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
