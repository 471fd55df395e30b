"""Checks of a run: what they may ask by counted tokens, the same after a restart, and what is said of the rest."""

import copy
from dataclasses import replace

import pytest

from leakatk.unlearning.checking import SHARE, Checks, left_out
from leakatk.unlearning.record import Position
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import unlearn


class Counted:
    """A check that notes what it may cost, and costs a given share of it."""

    whole_work = 40.0

    def __init__(self, cost=1.0, stop_at=None, utility=1.0, partial=True):
        self.allowed, self.cost, self.stop_at, self.utility, self.partial = [], cost, stop_at, utility, partial

    def __call__(self, loaded, step):
        return Check({"forget": 0.5, "utility": 1.0})

    def within(self, loaded, step, work, *, floor=0.0):
        self.allowed.append(work)
        row = {"forget": 0.5, "utility": self.utility, "work": work * self.cost}
        return Check(row | {"forget_asked": 1, "retain_asked": 1, "left_out": 3}, partial=self.partial)


def checked(check, done, position, total=20):
    found = Checks(check, position, lambda step: 100, total, 0.0).ask(None, done)
    position.checks.append({"step": float(done), **found.metrics})


def test_checks_get_a_quarter_of_what_was_trained_less_what_they_cost():
    check, position = Counted(cost=0.5), Position()
    for done in (4, 8, 12):
        checked(check, done, position)
    assert check.allowed == [100.0, 150.0, 175.0]  # 100 of it spent 50, then 200 - 50 spent 75, ...
    assert pytest.approx(0.2) == SHARE / (1 + SHARE)


def test_the_last_check_asks_everything_and_is_laid_aside():
    check, position = Counted(), Position()
    for done in (4, 8, 16, 19, 20):
        checked(check, done, position)
    assert sum(row.get("work", 0.0) for row in position.checks) == SHARE * 2000 - Counted.whole_work
    assert len(check.allowed) == 4
    assert position.checks[-1] == {"step": 20.0, "forget": 0.5, "utility": 1.0}


def test_a_run_that_goes_on_may_ask_as_much_as_one_that_was_never_stopped():
    whole, position = Counted(cost=0.3), Position()
    for done in (5, 10, 15):
        checked(whole, done, position)
    later = Counted(cost=0.3)
    checked(later, 15, Position(checks=position.checks[:2]))
    assert later.allowed == whole.allowed[2:]


def test_any_other_check_is_called_as_it_was():
    calls = []
    found = Checks(lambda loaded, step: calls.append(step) or Check({}), Position(step=3), lambda step: 1 / 0, 9, 0.0)
    found.ask(None, 3)
    assert calls == [3]


def test_what_was_left_out_is_said():
    few = {"step": 1.0, "forget_asked": 1.0, "retain_asked": 1.0, "left_out": 3.0}
    none = {"step": 2.0, "forget_asked": 0.0, "retain_asked": 0.0, "left_out": 5.0}
    last = {"step": 3.0, "forget": 0.0}
    assert left_out(Position(checks=[last])) == ""
    said = left_out(Position(checks=[few, none, last]))
    assert said.startswith("2 of 3 checks did not ask every prompt (1 of them asked none)")


SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=6, forget_batch=2, retain_batch=2, check_every=2)


def run(loaded, forget, retain, check, **changes):
    own = replace(loaded, model=copy.deepcopy(loaded.model))
    return unlearn(own, forget, retain, "graddiff", settings=replace(SETTINGS, **changes), on_check=check, quiet=True)


def test_training_counts_its_tokens_and_notes_the_rest(loaded, forget, retain):
    check = Counted(cost=0.0)
    done = run(loaded, forget, retain, check)
    assert [row["step"] for row in done.checks] == [2.0, 4.0, 6.0]
    assert 0 < check.allowed[0] < check.allowed[1]
    assert any("2 of 3 checks did not ask every prompt" in note for note in done.notes)


def test_a_row_that_is_drawn_twice_is_trained_on_once(loaded, forget, retain):
    few, many = Counted(cost=0.0), Counted(cost=0.0)
    run(loaded, forget[:1], retain[:1], few, forget_batch=8, retain_batch=8)
    run(loaded, forget[:1], retain[:1], many, forget_batch=1, retain_batch=1)
    assert few.allowed == many.allowed


@pytest.mark.parametrize(("partial", "stopped"), [(True, ""), (False, "utility 0.100 fell below the floor 0.5")])
def test_a_utility_of_few_prompts_ends_nothing(loaded, forget, retain, partial, stopped):
    check = Counted(cost=0.0, utility=0.1, partial=partial)
    assert run(loaded, forget, retain, check, utility_floor=0.5, on_floor="stop").stopped == stopped
