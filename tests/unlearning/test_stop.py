"""The greedy stop rule: what it measures, and when it ends a run."""

import numpy as np
import pytest

from leakatk.prompts import Prompt
from leakatk.unlearning import stop

FORGET = [Prompt(f"f{i}", f"Where is f{i}?", f"In town f{i}.", facts=(f"f{i}",)) for i in range(4)]
RETAIN = [Prompt(f"r{i}", f"Where is r{i}?", f"In town r{i}.", facts=(f"r{i}",)) for i in range(10)]


@pytest.fixture
def answers(monkeypatch):
    """The ids whose greedy answer is the truth; every other one is wrong."""
    known, asked = set(), []

    def greedy(loaded, prompts, *, max_new_tokens):
        asked.append([prompt.id for prompt in prompts])
        return [prompt.answer if prompt.id in known else "Nowhere." for prompt in prompts]

    monkeypatch.setattr(stop, "greedy_texts", greedy)
    return known, asked


def test_scores_are_those_of_the_greedy_answers(answers):
    answers[0].update({"f1", "f3"})
    assert stop.greedy_scores(None, FORGET, "fact", max_new_tokens=8).tolist() == [0.0, 1.0, 0.0, 1.0]
    without = [*FORGET[:1], Prompt("open", "Where does Dov live?", "in a small town")]
    assert np.isnan(stop.greedy_scores(None, without, "keys", max_new_tokens=8)[1])


def test_it_stops_once_it_forgets_and_still_knows(answers):
    known, _ = answers
    check = stop.greedy_stop(FORGET, RETAIN, "fact", utility_at_least=0.9)
    known.update({"f0", *(prompt.id for prompt in RETAIN)})
    found = check(None, 1)
    assert found.metrics == {"forget": 0.25, "utility": 1.0}
    assert not found.stop
    known.discard("f0")
    assert check(None, 2).stop
    known.difference_update({"r0", "r1"})
    assert check(None, 3).metrics["utility"] == pytest.approx(0.8)
    assert not check(None, 3).stop


def test_retain_prompts_are_evenly_spaced_and_not_more_than_asked(answers):
    stop.greedy_stop(FORGET, RETAIN, "fact", retain_sample=3)(None, 1)
    assert answers[1] == [["r0", "r3", "r6"], ["f0", "f1", "f2", "f3"]]


# -- within so much work


class Words:
    """The parts of a loaded model that count tokens: one a word, and one that ends an answer."""

    tokenizer = staticmethod(lambda text, add_special_tokens: {"input_ids": text.split()})

    class template:
        prompt_ids = staticmethod(lambda tokenizer, question: question.split())


MANY = [Prompt(f"f{i}", f"Where is f{i}?", f"In town f{i}.", facts=(f"f{i}",)) for i in range(40)]
ALL_KNOWN = {prompt.id for prompt in RETAIN}


def within(check, work=1e9, floor=0.0):
    found = check.within(Words(), 1, work, floor=floor)
    return found, {name: found.metrics[name] for name in ("forget_asked", "retain_asked", "left_out")}


def test_a_remembered_answer_among_the_first_settles_it(answers):
    known, asked = answers
    known.update(ALL_KNOWN, {"f10"})
    found, count = within(stop.greedy_stop(MANY, RETAIN, "fact"))
    assert asked == [["f0", "f10", "f20", "f30"], ["r0", "r2", "r5", "r7"]]
    assert count == {"forget_asked": 4, "retain_asked": 4, "left_out": 42}
    assert (found.stop, found.partial, found.metrics["forget"], found.metrics["utility"]) == (False, True, 0.25, 1.0)


def test_more_are_asked_while_the_rule_is_open_and_all_before_it_stops(answers):
    known, asked = answers
    known.update(ALL_KNOWN, {"f12"})
    found, count = within(stop.greedy_stop(MANY, RETAIN, "fact"))
    assert count == {"forget_asked": 16, "retain_asked": 4, "left_out": 30}
    assert not found.stop
    known.discard("f12")
    asked.clear()
    found, count = within(stop.greedy_stop(MANY, RETAIN, "fact"))
    assert count == {"forget_asked": 40, "retain_asked": 10, "left_out": 0}
    assert (found.stop, found.partial) == (True, False)
    ids = [id for part in asked for id in part]
    assert sorted(ids) == sorted({*(p.id for p in MANY), *ALL_KNOWN})


def test_a_mean_above_nothing_needs_proof_too(answers):
    known, _ = answers
    known.update(ALL_KNOWN, {"f0"})
    assert within(stop.greedy_stop(MANY, RETAIN, "fact", forget_at_most=0.05))[0].stop
    known.update({"f10", "f20"})
    found, count = within(stop.greedy_stop(MANY, RETAIN, "fact", forget_at_most=0.05))
    assert not found.stop
    assert count["forget_asked"] == 4, "3 of 40 are above .05 whatever the others say"


def test_a_lost_utility_spares_the_other_retain_prompts(answers):
    known, _ = answers
    known.update(ALL_KNOWN - {"r0", "r2"})
    found, count = within(stop.greedy_stop(MANY, RETAIN, "fact", utility_at_least=0.9))
    assert not found.stop
    assert count == {"forget_asked": 40, "retain_asked": 4, "left_out": 6}


def test_a_utility_below_the_floor_is_asked_of_all(answers):
    known, _ = answers
    known.update(ALL_KNOWN - {"r0", "r2"}, {"f0"})
    check = stop.greedy_stop(MANY, RETAIN, "fact", utility_at_least=0.9)
    assert within(check, floor=0.4)[1]["retain_asked"] == 4
    found, count = within(check, floor=0.6)
    assert (count["retain_asked"], found.partial, found.metrics["utility"]) == (10, False, 0.8)


def test_it_never_costs_more_than_it_may(answers):
    known, _ = answers
    known.update(ALL_KNOWN)
    check = stop.greedy_stop(MANY, RETAIN, "fact", max_new_tokens=8)
    spent = []
    for work in (0.0, 63.0, 100.0, 130.0, 200.0, 300.0, 1000.0):
        found, _ = within(check, work)
        assert found.metrics["work"] <= work
        spent.append(found.metrics["forget_asked"] + found.metrics["retain_asked"])
    assert spent[0] == 0
    assert spent == sorted(spent)
    assert spent[-1] == 50


def test_the_whole_costs_at_most_what_it_says(answers):
    check = stop.greedy_stop(MANY, RETAIN, "fact", max_new_tokens=8)
    assert check.whole_work == 2.0 * 8 * 50


def test_without_retain_prompts_it_never_stops(answers):
    found, count = within(stop.greedy_stop(FORGET, [], "fact"))
    assert count == {"forget_asked": 4, "retain_asked": 0, "left_out": 0}
    assert not found.stop
