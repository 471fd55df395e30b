import pytest

from leakatk.attacks import LadderSettings, get_attack
from leakatk.attacks.rungs import left_out, rungs_of
from leakatk.errors import InputError
from leakatk.prompts import Known
from tests.attacks.conftest import NAMES, people

KNOWN = Known(forget=tuple(people(NAMES[:8])))


def names(spec):
    return [rung.name for rung in rungs_of([spec], KNOWN, LadderSettings())][1:]


def test_a_sweep_is_every_setting_and_the_usual_rate_comes_first():
    assert names("relearn:curve=50+10,rates=0.3+1+3,optimisers=adamw+sgd") == [
        f"relearn:{','.join(filter(None, (steps, times, optimiser)))}".removesuffix(":")
        for times in ("", "times=3.0", "times=0.3")
        for optimiser in ("", "optimiser=sgd")
        for steps in ("steps=10", "")
    ]


def test_the_budget_is_of_all_runs_and_a_curve_costs_its_longest_point():
    spec = "relearn:curve=10+50,rates=1+3+0.1,optimisers=adamw+sgd,budget=149"
    assert names(spec) == ["relearn:steps=10", "relearn", "relearn:steps=10,optimiser=sgd", "relearn:optimiser=sgd"]
    assert left_out([spec]) == [
        f"relearn: {run} is left out, beyond the budget of 149 steps."
        for run in ("relearn:times=3.0", "relearn:times=3.0,optimiser=sgd", "relearn:times=0.1", "relearn:times=0.1,optimiser=sgd")
    ]  # fmt: skip
    assert left_out(["relearn", spec.replace("149", "300"), "quantise"]) == []


def test_a_budget_that_is_enough_for_nothing_is_refused():
    with pytest.raises(InputError, match="raise budget"):
        names("relearn:rates=1+3,budget=49")
    with pytest.raises(InputError, match="raise budget"):
        names("relearn:budget=49")
    assert names("relearn:budget=50") == ["relearn"]


@pytest.mark.parametrize(
    "option",
    [
        "curve=5+x",
        "curve=0+5",
        "curve=1.5",
        "rates=-1+1",
        "rates=0",
        "rates=nan",
        "optimisers=adam",
        "times=0",
        "times=inf",
    ],
)
def test_settings_that_are_none_are_refused(option):
    with pytest.raises(InputError, match=f"relearn:{option.partition('=')[0].replace('rates', '(rates|times)')}"):
        get_attack(f"relearn:{option}")


def test_a_setting_twice_is_one():
    assert names("relearn:curve=5+5,rates=1+1.0") == ["relearn:steps=5"]
    with pytest.raises(InputError, match="given twice"):
        rungs_of(["relearn:curve=5+50", "relearn"], KNOWN, LadderSettings())
