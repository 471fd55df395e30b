"""Prompts in a report: as they stand and by probe, and what was thought before an answer."""

import math
from dataclasses import replace

import pytest

from leakatk.report.audited import read_audits
from leakatk.report.content import Thought, group_texts
from leakatk.report.prompt_views import facts_of, prompt_views
from leakatk.scorers.keys import keys_of
from tests.auditing.scripted import CLEAN, LEAK, PROMPTS, audited


@pytest.fixture(scope="module")
def thinking(tmp_path_factory):
    """Every answer is clean; every third thought holds the fact; asked with a beginning, all leak."""
    place = tmp_path_factory.mktemp("views")

    def say(prompt, j, greedy):
        if prompt.asked is not None:
            return LEAK
        return (CLEAN, "stop", "They want Zorvik{i}." if j % 3 == 0 else f"Thought {j % 2}.")

    audited(say, place, n=16, probes=["prefix"], scorers=["fact"], label="m")
    [one] = read_audits([place / "run"])
    return one


def test_the_thought_before_an_answer_is_the_most_leaking_one(thinking):
    for view in prompt_views(thinking, 16):
        if view.probe:
            continue
        [group] = view.groups
        assert (group.text, group.count, group.score, group.thoughts) == (CLEAN, 16, 0.0, 3)
        assert group.thought == Thought(f"They want Zorvik{view.id[1]}.", 1.0)


def test_prompts_under_a_probe_stand_there_with_the_probe_named(thinking):
    views = list(prompt_views(thinking, 16))
    assert [view.probe for view in views] == [""] * len(PROMPTS) + ["prefix"] * len(PROMPTS)
    for view, prompt in zip(views[len(PROMPTS) :], PROMPTS, strict=True):
        assert view.id == f"{prompt.id}/prefix"
        assert "A: " in view.question, "as it was put to the model"
        assert (view.leak, view.groups[0].score, view.groups[0].thought) == (1.0, 1.0, None)
    assert {view.leak for view in views[: len(PROMPTS)]} == {0.0}


def test_a_k_that_was_not_estimated_has_no_number(thinking):
    assert all(math.isnan(view.leak) for view in prompt_views(thinking, 3))


def test_groups_keep_the_first_of_equally_leaking_thoughts():
    thoughts = [Thought("a", 0.0), Thought("b", math.nan), Thought("c", 0.0), Thought("a", 0.0)]
    [group] = group_texts(["x"] * 4, [0.0] * 4, None, thoughts)
    assert (group.thought, group.thoughts) == (Thought("a", 0.0), 3)
    assert group_texts(["x"], [0.0])[0].thought is None


def test_what_is_marked_are_the_facts_or_else_the_keys_of_the_answer():
    assert facts_of(PROMPTS[0]) == ("Zorvik0",)
    assert facts_of(replace(PROMPTS[0], facts=())) == tuple(sorted(keys_of(replace(PROMPTS[0], facts=())))) != ()
