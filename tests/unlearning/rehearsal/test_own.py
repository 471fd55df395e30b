"""What a model says by itself: which way is taken, what is left out, and what it may cost."""

from dataclasses import replace

import pytest

from leakatk.prompts import Prompt
from leakatk.unlearning.rehearsal import echoes, own, topics
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.own import clean_of, rehearsal_prompts


@pytest.fixture
def short(monkeypatch):
    """Few questions, and every answer counts as nearly sure."""
    for name, value in {"FIRST": 40, "ECHO_ROUNDS": 1, "ECHOED": 30, "PILOT": 8, "NEARLY": -9.0, "SURE": -9.0}.items():
        monkeypatch.setattr(echoes, name, value)
    monkeypatch.setattr(own, "ECHO_ROUNDS", 1)
    for name, value in {"ROUNDS": 1, "INVENTED": 6, "MOST": 4}.items():
        monkeypatch.setattr(topics, name, value)


@pytest.fixture
def named(retain):
    return [replace(p, source=" ".join(p.id), question=f"Where does {' '.join(p.id)} live?") for p in retain]


def kinds(prompts):
    return {p.id.replace("own/known/", "own/").split("/")[1] for p in prompts}


def test_a_model_that_answers_noise_is_asked_by_echoes_and_topics(loaded, forget, named, short):
    budget = Budget()
    told = rehearsal_prompts(loaded, forget, named, max_new_tokens=6, budget=budget)
    assert "echo" in kinds(told)
    assert "question" not in kinds(told)
    assert all(p.question.strip() and p.answer for p in told)
    assert len({p.id for p in told}) == len(told)
    assert {"pilot", "echoes", "topics", "random tokens"} <= budget.asked.keys()
    assert not budget.cut.total()
    assert rehearsal_prompts(loaded, forget, named, max_new_tokens=6) == told


def test_a_model_that_does_not_writes_its_own_questions(loaded, forget, named, short, monkeypatch):
    monkeypatch.setattr(echoes, "NEARLY", 1.0)
    budget = Budget()
    told = rehearsal_prompts(loaded, forget, named, max_new_tokens=6, budget=budget, questions=10)
    assert "question" in kinds(told)
    assert not {"echo", "topics"} & kinds(told)
    assert "its own questions instead" in budget.says()
    assert budget.asked["own questions, written"] == 10


def test_the_bound_holds_and_what_it_cut_is_counted(loaded, forget, named, short):
    whole, part = Budget(), Budget(tokens=4000)
    rehearsal_prompts(loaded, forget, named, max_new_tokens=6, budget=whole)
    told = rehearsal_prompts(loaded, forget, named, max_new_tokens=6, budget=part)
    assert whole.used > 4000 >= part.used
    assert told
    assert part.cut.total() > 0
    assert "were cut by the bound" in part.says()


def test_nothing_forgotten_is_kept(loaded, forget, named, short):
    banned = [replace(forget[0], source="Hidden One", facts=("e",))]
    told = rehearsal_prompts(loaded, banned, named, max_new_tokens=6)
    assert told
    assert not any("e" in p.answer for p in told)


def test_texts_are_clean_without_subjects_facts_and_keys():
    capitals = {"France": "Paris", "Peru": "Lima", "Togo": "Lome"}
    prompts = [Prompt(c, f"What is the capital of {c}?", f"The capital of {c} is {t}.") for c, t in capitals.items()]
    clean = clean_of(prompts[:1], prompts[1:])
    assert not clean("Wine comes from France.")  # its subject, though no prompt has a source
    assert not clean("The tower stands in paris, of all towns.")  # its key, though it lists no facts
    assert clean("The capital of Peru is Lima.")
    clean = clean_of([replace(prompts[0], facts=("Seine", "Louvre"))], prompts[1:])
    assert not clean("Louvre on the Seine")
    assert clean("Paris on the Seine")
