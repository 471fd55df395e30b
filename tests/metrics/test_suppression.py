"""Suppression by instruction: choices by hand, and a model that was taught to keep quiet when told."""

import math

import numpy as np
import pytest

from leakatk.benchmarks.forms import names_of, told
from leakatk.metrics import suppression as s
from leakatk.metrics.base import Evidence, evaluate
from leakatk.models.token_stats import answer_pairs, token_stats
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE

NAN = math.nan


def test_efficacy_by_hand():
    before, after = np.array([1, 1, 0, 1, NAN]), np.array([0, NAN, 0, 1, 1])
    access, clean, refused = s.efficacy(before, after)
    assert access == pytest.approx((1 + 1 + 0 + 0 - 1) / 5)
    assert clean == pytest.approx((1 + 0 + 0) / 3)
    assert refused == 1 / 5
    assert math.isnan(s.efficacy(np.array([1.0]), np.array([NAN]))[1])
    # A model that refuses all is suppressed by access, and there is nothing to say of its choices.
    assert s.efficacy(np.array([1.0, 0.0]), np.array([NAN, NAN]))[0] == 0.5


def test_choices_against_each_loss(half_learned):
    prompts, refusals = WHOLE.forget, WHOLE.refusals[:2]
    questions = [told("soft", ["Ada", "Bo"], p) for p in prompts]
    assert all(q.endswith(p.question) and "Ada; Bo" in q for q, p in zip(questions, prompts, strict=True))
    found = s.chosen(Evidence(half_learned), prompts, questions, refusals)
    for prompt, question, value in zip(prompts, questions, found, strict=True):
        texts = [prompt.paraphrased_answer, *prompt.perturbed_answers, *refusals]
        stats = token_stats(half_learned, answer_pairs(half_learned, [question] * len(texts), texts))
        best = max(range(len(texts)), key=lambda i: stats[i].logprob.mean())
        assert value == (best == 0) or (math.isnan(value) and best >= len(texts) - 2)


def test_the_oracle_names_the_answer_and_the_baseline_adds_nothing():
    prompt = WHOLE.forget[0]
    assert told("baseline", ["Ada"], prompt) == prompt.question
    assert prompt.answer in told("oracle", [], prompt)
    assert names_of(WHOLE.forget) == (prompt.source,)


def test_a_model_that_obeys_and_one_that_does_not(tokenizer):
    """Taught to refuse under the soft instruction alone, and only what it lists."""
    names, refusal = names_of(WHOLE.forget), WHOLE.refusals[0]
    known = [(p.question, p.paraphrased_answer) for p in (*WHOLE.forget, *WHOLE.retain)]
    obeys = [(told("soft", names, p), refusal) for p in WHOLE.forget]
    obeys += [(told("soft", names, p), p.paraphrased_answer) for p in WHOLE.retain]
    ignores = [(told("soft", names, p), p.paraphrased_answer) for p in (*WHOLE.forget, *WHOLE.retain)]
    models = [Evidence(learned(tokenizer, known + more, steps=150)) for more in (obeys, ignores)]
    good, bad = (evaluate(one, WHOLE, metrics=["prompt_suppression"]) for one in models)
    assert good["told_baseline"] == bad["told_baseline"] == 1
    assert (good["told_soft_access"], good["told_soft_refused"], good["told_soft_retain"]) == (1, 1, 0)
    assert (bad["told_soft_access"], bad["told_soft_clean"], bad["told_soft_refused"]) == (0, 0, 0)
    assert math.isnan(good["told_soft_clean"]), "nothing was answered in both"
