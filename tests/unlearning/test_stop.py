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
