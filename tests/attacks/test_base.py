import dataclasses

import numpy as np
import pytest

from leakatk.attacks import ATTACKS, Alter, Ask, Read, get_attack, split_known
from leakatk.attacks.ladder import check_scores, checked
from leakatk.errors import InputError, UnknownNameError
from leakatk.prompts import Known, Prompt

PROMPTS = tuple(Prompt(f"p{i}", f"Question {i}?", f"Answer {i}.") for i in range(7))
KNOWN = Known(forget=PROMPTS, retain=(Prompt("r0", "Other?", "Another."),))


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_every_prompt_is_unseen_once_and_never_seen_where_it_is_unseen(folds):
    parts = split_known(KNOWN, 5, folds)
    assert len(parts) == folds
    assert sorted(p.id for part in parts for p in part.unseen) == sorted(p.id for p in PROMPTS)
    for part in parts:
        assert not set(part.seen) & set(part.unseen)
        assert set(part.seen) | set(part.unseen) == set(PROMPTS)
        assert part.retain == KNOWN.retain
    sizes = [len(part.unseen) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_folds_depend_on_seed_and_ids_alone():
    def unseen(prompts, seed):
        return [{p.id for p in part.unseen} for part in split_known(Known(forget=prompts), seed, 3)]

    assert unseen(PROMPTS, 1) == unseen(PROMPTS[::-1], 1)
    assert any(unseen(PROMPTS, 1) != unseen(PROMPTS, seed) for seed in range(2, 6))


@pytest.mark.parametrize(("known", "folds"), [(KNOWN, 1), (KNOWN, 8), (Known(), 2)])
def test_folds_that_cannot_be_are_refused(known, folds):
    with pytest.raises(InputError):
        split_known(known, 0, folds)


def test_names_and_options():
    assert get_attack("relearn:steps=7,on=retain").label == "relearn:steps=7,on=retain"
    with pytest.raises(UnknownNameError, match="did you mean quantise"):
        get_attack("quantize")
    for spec in ("quantise:bits=5", "quantise:group=-1", "relearn:steps=0", "relearn:on=web", "decoder:depth=2", "decoder:depth=deep", "decoder:fit=svm", "key-tokens:form=x",
                 "key-tokens:threshold=nan", "decoder:penalty=0", "decoder:wrong=0", "relearn:lr=1"):  # fmt: skip
        with pytest.raises(InputError):
            get_attack(spec)


@pytest.mark.parametrize("name", ATTACKS)
def test_facts_are_stated(name):
    facts, kind = ATTACKS[name].facts, ATTACKS[name]
    assert facts.name == kind.name == name
    assert issubclass(kind, {"alter": Alter, "ask": Ask, "read": Read}[facts.kind])
    assert facts.summary
    assert facts.paper
    assert facts.formula
    assert facts.access
    assert bool(np.isfinite(facts.chance)) == (facts.kind == "read")
    documented = kind.__doc__ or ""
    assert all(field.name in documented for field in dataclasses.fields(kind))


def test_identity_is_of_options_and_of_what_is_used():
    one, two = split_known(KNOWN, 0, 2)
    relearn = get_attack("relearn")
    assert relearn.identity(one) == get_attack("relearn:steps=50").identity(one)
    assert relearn.identity(one) != relearn.identity(two)
    assert relearn.identity(one) != get_attack("relearn:steps=51").identity(one)
    assert get_attack("quantise").identity(one) == get_attack("quantise").identity(two)


@pytest.mark.parametrize("scores", [[0.5], [0.5, 1.2], [-0.1, 0.5], [[0.1, 0.2]]])
def test_scores_that_are_none_are_refused(scores):
    with pytest.raises(ValueError, match="scores in"):
        check_scores(get_attack("decoder"), np.array(scores), 2)


def test_scores_may_be_undefined():
    check_scores(get_attack("decoder"), np.array([0.5, np.nan]), 2)


def test_what_is_asked_belongs_to_a_prompt():
    part = dataclasses.replace(KNOWN, unseen=PROMPTS[:2])
    assert checked(get_attack("key-tokens"), PROMPTS[:1], part) == [PROMPTS[0]]
    with pytest.raises(ValueError, match="no prompt's id"):
        checked(get_attack("key-tokens"), PROMPTS[:3], part)
    assert checked(get_attack("key-tokens"), [], part) == []  # which the ladder counts
