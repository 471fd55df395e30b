"""Gates under attack: folds of a rung are one setting, and only what was sampled without giving the answer away counts."""

from types import SimpleNamespace

import numpy as np
import pytest

from leakatk.attacks.gate import excess_verdict, joined
from leakatk.attacks.ladder import attack_ladder
from leakatk.attacks.rungs import LadderSettings, Rung
from leakatk.auditing.settings import Gate
from leakatk.auditing.verdict import Setting
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

    def settings_of(rung, out, settings, gate, role="model"):
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
