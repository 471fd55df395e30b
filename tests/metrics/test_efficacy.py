"""Token entropy by counting, forget efficacy from its parts."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakatk.metrics import efficacy as e
from leakatk.metrics.base import Evidence, MetricSettings, evaluate
from leakatk.metrics.pieces import answer_stats, greedy_answers
from leakatk.metrics.truth_ratio import truth_on_forget, truth_ratios
from leakatk.scorers.base import score_texts
from tests.metrics.conftest import WORLD, learned
from tests.metrics.test_contract import WHOLE


@given(st.lists(st.integers(0, 3), min_size=2, max_size=12))
def test_entropy_in_bits_over_bits(tokens):
    shares = [count / len(tokens) for count in Counter(tokens).values()]
    expected = sum(-share * math.log2(share) for share in shares) / math.log2(len(tokens))
    assert e.token_entropy([tokens])[0] == pytest.approx(expected)


def test_ends():
    found = e.token_entropy([[1, 2, 3], [1, 1, 1], [1, 1, 2, 2], [1], []])
    assert found[:3].tolist() == pytest.approx([1, 0, 0.5])
    assert np.isnan(found[3:]).all()


def test_answers_of_one_token_are_left_out_and_counted(tokenizer):
    blank = [(p.question, "") for p in WHOLE.forget[:1]] + [(p.question, p.answer) for p in WHOLE.forget[1:]]
    evidence = Evidence(learned(tokenizer, blank, steps=120))
    found = evaluate(evidence, WHOLE, metrics=["token_entropy"])
    texts = greedy_answers(evidence, WHOLE.forget)
    assert texts[0] == ""
    ids = tokenizer(texts[1])["input_ids"]
    assert found["token_entropy_left_out"] == 1
    assert found["token_entropy"] == pytest.approx(e.token_entropy([ids])[0])


def test_three_parts_without_further_models_and_five_with_them(half_learned, monkeypatch):
    evidence = Evidence(half_learned)
    found = evaluate(evidence, WHOLE, metrics=["forget_efficacy"])
    prompts = WORLD.forget[:2]
    texts = greedy_answers(evidence, prompts)
    parts = [
        score_texts("rouge-l", list(prompts), texts).mean(),
        np.mean([np.exp(one.logprob.mean()) for one in answer_stats(evidence, prompts)]),
        truth_on_forget(truth_ratios(evidence, prompts)),
    ]
    assert found["forget_efficacy_three"] == pytest.approx(1 - np.mean(parts))
    assert math.isnan(found["forget_efficacy"]), "five are never the mean of fewer"
    asked = []

    class Fixed:
        def __init__(self, value):
            self.value = value

        def score(self, targets, generations):
            return np.full(len(generations), self.value)

    plain = e.get_scorer

    def get(name, **options):
        asked.append((name, options))
        return Fixed({"similarity": 0.25, "entailment": 0.5}[name]) if options else plain(name)

    monkeypatch.setattr(e, "get_scorer", get)
    settings = MetricSettings(encoder="some/encoder", nli="some/nli")
    whole = evaluate(Evidence(half_learned, settings=settings), WHOLE, metrics=["forget_efficacy"])
    assert whole["forget_efficacy"] == pytest.approx(1 - (sum(parts) + 0.25 + 0.5) / 5)
    assert [one for one in asked if one[1]][-2:] == [
        ("similarity", {"model": "some/encoder"}),
        ("entailment", {"model": "some/nli"}),
    ]
