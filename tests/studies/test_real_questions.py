"""Question files of the studies: five wordings in three roles, keys that can be scored, sets that do not meet."""

import pytest
from real_knowledge import Design
from real_questions import divided, in_all_wordings, load_general, load_kind, reworded

from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

KINDS = {name: load_kind(name) for name in Design().kinds}


@pytest.fixture(params=sorted(KINDS))
def kind(request):
    return KINDS[request.param]


def everything():
    return {kind.name: [item["name"] for item in kind.items] for kind in KINDS.values()}


def test_wordings_and_roles(kind):
    assert kind.roles == ("asked", "detection", "detection", "held-out", "held-out")
    assert len(set(kind.wordings)) == 5
    assert all("{name}" in text for text in kind.wordings)


def test_no_question_says_its_key_and_every_answer_does(kind):
    fact = get_scorer("fact")
    for w in range(len(kind.wordings)):
        for item in kind.items:
            prompt = kind.prompt(item, w)
            assert fact.score([prompt], [prompt.answer])[0] == 1
            assert fact.score([prompt], [prompt.question])[0] == 0, prompt.question


def test_names_are_unique_and_invented_ones_are_not_real(kind):
    names = [item["name"] for item in kind.items]
    assert len(set(names)) == len(names)
    keys = {item["key"].lower() for item in kind.items}
    for item in kind.invented:
        assert item["name"] not in names
        assert item["name"].lower() not in keys


def test_paraphrases_are_those_of_the_detection_and_never_held_out(kind):
    prompt = kind.prompt(kind.items[0])
    assert list(prompt.paraphrases) == [kind.wordings[w].format(**kind.items[0]) for w in (1, 2)]


def test_ids_differ_by_wording(kind):
    ids = {kind.prompt(kind.items[0], w).id for w in range(5)} | {p.id for w in range(5) for p in kind.unknowable(w)}
    assert len(ids) == 5 * (1 + len(kind.invented))


def test_sets_do_not_meet_and_have_their_sizes():
    sets = divided(KINDS, everything(), dict.fromkeys(KINDS, 3))
    groups = [sets.tuning, sets.forget, sets.shown, sets.unshown]
    ids = [p.id for group in groups for p in group]
    keys = {kind.name: {item["key"] for item in kind.items} for kind in KINDS.values()}
    total = sum(map(len, keys.values()))
    assert len(set(ids)) == len(ids) == total
    assert len(sets.tuning) == 3 * len(KINDS)
    assert len(sets.forget) == sum(round((len(one) - 3) / 4) for one in keys.values())
    assert len(sets.shown) > len(sets.unshown) > 0
    again = divided(KINDS, {name: names[::-1] for name, names in everything().items()}, dict.fromkeys(KINDS, 3))
    assert again == sets


def test_what_the_model_does_not_know_is_in_no_set():
    known = {"capitals": everything()["capitals"][:8], "symbols": [], "people": ["Hamlet", "Macbeth", "Dracula"]}
    sets = divided(KINDS, known, {})
    prompts = [p for group in (sets.tuning, sets.forget, sets.shown, sets.unshown) for p in group]
    assert {p.id for p in prompts if p.source == "capitals"} == {f"capitals/{name}" for name in known["capitals"]}
    assert not [p for p in prompts if p.source == "symbols"]
    # Both plays are one man's: he would be forgotten and kept.
    assert sorted(p.facts for p in prompts if p.source == "people") == [("Shakespeare",), ("Stoker",)]


def test_the_same_items_in_another_wording(kind):
    prompt = kind.prompt(kind.items[1])
    (held,) = reworded(KINDS, [prompt], 3)
    assert held == kind.prompt(kind.items[1], 3)
    assert held.answer == prompt.answer


def test_training_on_wordings_never_takes_a_held_out_one(kind):
    prompts = [kind.prompt(item) for item in kind.items[:2]]
    trained = in_all_wordings(KINDS, prompts)
    held = {kind.wordings[w].format(**item) for w in (3, 4) for item in kind.items}
    assert len(trained) == 6
    assert not held & {p.question for p in trained}
    assert all(p.paraphrases == () for p in trained)


def test_general_questions_have_ids_of_their_own():
    prompts = load_general()
    assert len({p.id for p in prompts}) == len(prompts) >= 20
    assert all(isinstance(p, Prompt) for p in prompts)
