"""Demonstrations: what stands before a prompt, and that a deleted example might never have been there."""

from dataclasses import replace

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.demonstrations import Demonstrations, projected
from leakatk.prompts import Known, Prompt
from tests.guards.conftest import FORGET, RETAIN

MANY = tuple(
    Prompt(f"m{i}", f"Which colour has the {word} door?", f"The {word} door is blue.")
    for i, word in enumerate(["red", "old", "tall", "iron", "north", "small", "barn", "cellar"])
)
ACTION = Demonstrations(shots=3, nearest="words")


def fitted(forget, retain, **options):
    return replace(ACTION, **options).fit(Known(forget=tuple(forget), retain=tuple(retain)), None)


def test_what_was_deleted_might_never_have_been_there():
    """Whoever was to be deleted, and in whatever order: the examples are those of the others alone."""
    rest, outcomes = [*RETAIN, *MANY], set()
    for forget in (FORGET, FORGET[::-1], MANY[:3]):
        retain = [one for one in rest if one not in forget]
        found = fitted(forget, retain)
        alone = fitted([Prompt("z", "Zzz?", "z")], retain)
        assert found.examples == alone.examples
        assert not set(found.examples) & set(forget)
        assert found.deleted == len(forget)
        outcomes.add(found.anew)
    kept = fitted(MANY[:3], [one for one in rest if one not in MANY[:3]], delete=False)
    assert kept.deleted == 0
    assert outcomes


def test_examples_stand_before_the_turns_of_a_prompt():
    found = fitted(FORGET, RETAIN)
    asked = replace(MANY[0], asked=replace(MANY[0].query, turns=(("Hello?", "Hello."),)))
    turns = found.query(asked).query.turns
    assert turns == (*((one.question, one.answer) for one in found.examples), ("Hello?", "Hello."))
    assert len(found.examples) == 3
    assert found.query(asked).id == asked.id


def test_without_deletion_a_forget_prompt_can_stand_there():
    """Mutant: all but a few examples are to be forgotten, so that some of them stand for clusters until they are deleted."""
    gone = [*FORGET, *MANY]
    kept, without = fitted(gone, RETAIN, delete=False), fitted(gone, RETAIN)
    assert set(kept.examples) & set(gone)
    assert set(without.examples) <= set(RETAIN)


def test_a_projection_does_not_look_at_the_data():
    rows = np.random.default_rng(0).normal(size=(200, 50))
    found = projected(rows, 10, 1)
    np.testing.assert_array_equal(projected(rows[:3], 10, 1), projected(rows, 10, 1)[:3])
    assert np.square(found).sum() == pytest.approx(np.square(rows).sum(), rel=0.1)
    assert projected(rows, 0, 1) is rows


def test_what_cannot_be_done():
    with pytest.raises(InputError, match="shots = 3, and there are 2"):
        fitted(FORGET, RETAIN[:2])
    with pytest.raises(InputError, match="share an id"):
        fitted(FORGET, [*RETAIN, FORGET[0]])
    assert get_guard("erase:delete=no").options()["delete"] is False
