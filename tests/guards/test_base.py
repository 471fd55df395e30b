"""The contract: one place a guard, thresholds that keep what they promise, facts for every preset."""

import re
from dataclasses import dataclass

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards import GUARDS, get_guard
from leakatk.guards.actions import Corrupt, InContext, Refuse
from leakatk.guards.base import Action, Always, Threshold, conformal, guard, place_of
from leakatk.guards.combine import Difference, Rank
from leakatk.prompts import Known, Prompt


@pytest.fixture(autouse=True)
def _registry(monkeypatch):
    monkeypatch.setattr(GUARDS, "_items", dict(GUARDS._items))


def test_an_action_acts_in_one_place():
    places = {Refuse(): "answer", Corrupt(): "hooks", InContext(): "query", Difference(): "combine", Rank(): "combine"}
    assert {action: place_of(action) for action in places} == places

    class Nowhere(Action):
        pass

    @dataclass(frozen=True)
    class Twice(Refuse):
        def query(self, prompt):
            return prompt

    for wrong, says in ((Nowhere(), "defines none"), (Twice(), "defines query, answer")):
        with pytest.raises(ValueError, match=says):
            guard("wrong", act=wrong)
    assert "wrong" not in GUARDS


def test_an_option_belongs_to_one_part():
    @dataclass(frozen=True)
    class Says(Refuse):
        keep: float = 1.0

    with pytest.raises(ValueError, match="both have an option 'keep'"):
        guard("wrong", detect=Threshold(), act=Says())


def test_a_guard_without_a_detector_acts_on_everything():
    made = guard("silent", act=Refuse("No."))
    assert isinstance(made.detector, Always)
    assert get_guard("silent:refusal=Never").action == Refuse("Never")
    assert get_guard(made) is made


@pytest.mark.parametrize("name", sorted(GUARDS))
def test_every_guard_states_its_facts(name):
    entry = GUARDS[name]
    for fact in ("summary", "paper", "formula", "source", "reading"):
        assert getattr(entry, fact), fact
    assert "suppression" in entry.tags
    needs = {need.partition(" ")[0] for need in entry.needs}
    assert needs <= set(entry.tags)
    # A default that the source names is the one in force.
    told = {option: float(value) for option, value in re.findall(r"(\w+) (?:about )?([\d.]*\d)", entry.source)}
    options = entry.options()
    assert {option: value for option, value in told.items() if option in options} == {
        option: options[option] for option in told if option in options
    }


@pytest.mark.parametrize("keep", [0.5, 0.8, 0.9, 0.95])
def test_a_conformal_threshold_keeps_its_promise(keep):
    """Of a new score like those it was calibrated on: flagged with probability at most 1 - keep, and no less than
    that minus 1 / (m + 1), over calibration and new score together."""
    rng, m, rounds = np.random.default_rng(5), 19, 20_000
    scores = rng.normal(size=(rounds, m + 1))
    flagged = np.mean([row[-1] >= conformal(row[:-1], keep) for row in scores])
    error = 4 * np.sqrt(keep * (1 - keep) / rounds)
    assert 1 - keep - 1 / (m + 1) - error <= flagged <= 1 - keep + error


def test_a_conformal_threshold_needs_enough_scores():
    assert conformal(np.arange(19.0), 0.95) > 18
    with pytest.raises(InputError, match="needs at least 19 of them to be calibrated on, and there are 18"):
        conformal(np.arange(18.0), 0.95)
    with pytest.raises(InputError, match="needs at least 1 of them"):
        conformal(np.zeros(0), 0.5)
    with pytest.raises(InputError, match="at least 0 and below 1"):
        Threshold(keep=1.0)


def test_a_fixed_threshold_flags_what_reaches_it():
    @dataclass(frozen=True)
    class Length(Threshold):
        def score(self, prompts):
            return np.array([float(len(prompt.question)) for prompt in prompts])

    prompts = [Prompt(str(size), "x" * size, "y") for size in range(1, 31)]
    fixed = Length(threshold=5).fitted(Known(), ())
    assert fixed.flags(prompts).tolist() == [size >= 5 for size in range(1, 31)]
    kept = Length(threshold=5, keep=0.9).fitted(Known(retain=tuple(prompts[:9])), prompts[:9])
    assert kept.flags(prompts).tolist() == [size > 9 for size in range(1, 31)]
    with pytest.raises(InputError, match="needs retain prompts"):
        Length(keep=0.9).fitted(Known(), ())
