"""A round's strategy: the base repeated, and RULE around a strategy that it never heard of."""

import json
import math
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError, RunError
from leakatk.unlearning.methods import resolve
from leakatk.unlearning.rule.detect import Leak
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.rule.strategy import RepeatBase, RoundStart, Training, strategy_of, with_leaks
from tests.unlearning.rule.test_rule import SETTINGS, TRAIN, Scripted, leaks

LEAKS = [Leak("Fa1", "Who?", "LEAK b", 3), Leak("Fa0", "What?", "LEAK a", 0)]


def start(loaded, forget, retain, **changes):
    options = RuleSettings(n=8, k=8, **changes)
    return RoundStart(1, loaded, forget, retain, resolve("npo"), LEAKS, options, 0, {"w": torch.ones(1)})


class Counts:
    """Trains the retain prompts alone, and aims at its third measurement."""

    def __init__(self, mends=True):
        self.mends, self.begun, self.numbers = mends, 0, []

    def identity(self):
        return {"counts": 3}

    def begin(self, loaded, forget):
        self.begun += 1

    def measure(self, loaded, forget):
        self.numbers.append(float(len(self.numbers) + 1))
        return {"count": self.numbers[-1]}

    def missing(self, metrics):
        return max(3 - metrics["count"], 0.0)

    def training(self, begun):
        return Training(list(begun.retain), begun.forget, begun.base)


def test_the_base_is_repeated_on_the_forget_set_and_the_leaks(loaded, forget, retain):
    begun = start(loaded, forget, retain)
    done = RepeatBase().training(begun)
    assert done.forget[: len(forget)] == forget
    added = [(p.id, p.question, p.answer) for p in done.forget[len(forget) :]]
    assert added == [("Fa1#0", "Who?", "LEAK b"), ("Fa0#1", "What?", "LEAK a")]
    assert (done.retain, done.method, done.weights, done.reference) == (retain, begun.base, None, begun.original)
    assert RepeatBase().measure(loaded, forget) == RepeatBase().identity() == {}
    assert RepeatBase().missing({}) == 0
    assert not RepeatBase().mends


def test_a_leak_weighs_as_often_as_it_was_sampled_and_once_where_it_was_not(loaded, forget, retain):
    items, weights = with_leaks(forget[:2], start(loaded, forget, retain, weighting="frequency"))
    assert weights == [1.0, 1.0, 3 / 8, 1 / 8]
    assert len(items) == 4


def test_a_leak_joins_under_the_wording_that_drew_it_or_under_all_that_are_asked(loaded, forget, retain):
    worded = [replace(p, paraphrases=(f"{p.id}: where?", f"{p.id} lives?", "never asked")) for p in forget[:2]]
    found = [Leak("Fa0", "Fa0: where?", "LEAK a", 2), Leak("Fa0", worded[0].question, "LEAK a", 1)]
    found += [Leak("Fa1", worded[1].question, "LEAK b", 4)]

    def added(**changes):
        begun = replace(start(loaded, worded, retain, wordings=2, weighting="frequency", **changes), leaks=found)
        items, weights = with_leaks(worded, begun)
        assert len({p.id for p in items}) == len(items)
        return [(p.question, p.answer, weight) for p, weight in zip(items[2:], weights[2:], strict=True)]

    drawn = [
        ("Fa0: where?", "LEAK a", 2 / 8),
        (worded[0].question, "LEAK a", 1 / 8),
        (worded[1].question, "LEAK b", 4 / 8),
    ]
    assert added() == drawn
    # Each question and answer once, and no wording that is not asked.
    assert sorted(added(leak_wordings="all")) == sorted(
        [*drawn, ("Fa0 lives?", "LEAK a", 2 / 8), ("Fa1: where?", "LEAK b", 4 / 8), ("Fa1 lives?", "LEAK b", 4 / 8)]
    )


def test_rule_follows_any_strategy(loaded, forget, retain, tmp_path):
    strategy = Counts()
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=replace(SETTINGS, rounds=4), train=TRAIN, strategy=strategy,
        sampler=Scripted({}), out=tmp_path, quiet=True,
    )  # fmt: skip
    # Nothing leaks from the start; the run goes on until the strategy's own aim is reached.
    assert [one.metrics for one in done.rounds] == [{"count": 1.0}, {"count": 2.0}, {"count": 3.0}]
    assert [one.steps for one in done.rounds] == [3, 3, 0]
    assert strategy.begun == 1
    assert json.loads((tmp_path / "rule.json").read_text())["counts"] == 3
    assert json.loads((tmp_path / "rounds.json").read_text())["rounds"][1]["metrics"] == {"count": 2.0}
    with pytest.raises(RunError, match="counts: 3, absent"):
        rule(
            loaded, forget, retain, "npo", score=leaks, settings=replace(SETTINGS, rounds=4), train=TRAIN,
            sampler=Scripted({}), out=tmp_path, quiet=True,
        )  # fmt: skip


@pytest.mark.parametrize(("mends", "rounds"), [(True, 2), (False, 1)])
def test_a_strategy_that_mends_goes_on_below_the_floor(loaded, forget, retain, mends, rounds):
    done = rule(
        loaded, forget, retain, "npo", score=leaks, settings=replace(SETTINGS, utility_floor=0.5), train=TRAIN,
        strategy=Counts(mends), sampler=Scripted({"Fa0": ["LEAK a"]}), utility=lambda _: 0.1, quiet=True,
    )  # fmt: skip
    assert len([one for one in done.rounds if one.steps]) == rounds
    assert ("fell below the floor" in done.verdict) == (not mends)


def test_the_former_name_still_gives_the_strategy(loaded, forget, retain):
    class Goal:
        def strategy(self):
            return "made"

    assert strategy_of(None, Goal()) == "made"
    assert strategy_of(None, None) == RepeatBase()
    with pytest.raises(InputError, match="former name"):
        strategy_of(RepeatBase(), Goal())
    counts = Counts()
    goal = type("G", (), {"strategy": lambda self: counts})()
    rule(
        loaded, forget, retain, "npo", score=leaks, settings=replace(SETTINGS, rounds=1), train=TRAIN, matching=goal,
        sampler=Scripted({}), quiet=True,
    )  # fmt: skip
    assert counts.begun == 1
    assert not math.isnan(counts.numbers[0])
