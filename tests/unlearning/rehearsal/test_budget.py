"""The bound on what asking costs, and what training costs."""

import math
from dataclasses import replace

import pytest

from leakatk.models.token_stats import answer_pairs
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.rehearsal.budget import STEP, Budget, training_tokens
from leakatk.unlearning.settings import TrainSettings


def test_what_the_bound_leaves_out_is_counted():
    budget = Budget(tokens=100)
    assert budget.afford("a", [40, 40, 40]) == 2
    budget.charge("a", 50)
    assert budget.left == 50
    budget.share = 0.6
    assert budget.left == 10
    assert budget.afford("b", [20, 5]) == 0  # the first is asked first
    record = budget.record()
    assert (record["asked"], record["cut"], record["used"], record["tokens"]) == (
        {"a": 2, "b": 0},
        {"a": 1, "b": 2},
        50,
        100,
    )
    assert "2 questions in 50 tokens (at most 100): a 2; 3 were cut by the bound." in budget.says()


def test_without_a_bound_nothing_is_cut():
    budget = Budget(notes=["So it is."])
    assert budget.afford("a", [10**9] * 3) == 3
    assert budget.record()["tokens"] is None
    assert math.isinf(budget.left)
    assert budget.says() == "The original was asked 3 questions in 0 tokens (no bound): a 3. So it is."


def test_training_costs_the_tokens_of_its_steps(loaded, forget, retain):
    def mean(prompts):
        pairs = answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts])
        return sum(len(q) + len(a) for q, a in pairs) / len(pairs)

    settings = TrainSettings(max_steps=4, forget_batch=2, retain_batch=3)
    one = training_tokens(loaded, forget, retain, METHODS["npo"], settings)
    assert one == pytest.approx(STEP * 4 * (2 * mean(forget) + 3 * mean(retain)), abs=1)
    assert training_tokens(loaded, forget, retain, METHODS["npo"], settings, rounds=3) == pytest.approx(3 * one, abs=3)
    assert training_tokens(loaded, forget, [], METHODS["ga"], settings) == pytest.approx(STEP * 8 * mean(forget), abs=1)
    by_epochs = replace(settings, max_steps=None, epochs=2)
    assert training_tokens(loaded, forget, retain, METHODS["npo"], by_epochs) == pytest.approx(one * 5 / 4, abs=1)
