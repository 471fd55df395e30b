"""Refusal quality by vectors and by Bayes' rule, written out."""

import math

import numpy as np
import pytest

from leakatk.metrics import refusals as r
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.gibberish import taught
from leakatk.metrics.pieces import greedy_answers
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE


def test_the_cosine_by_vectors():
    texts, stored = ["I do not know.", "do do", "", "Xyz"], ["I do know", "do not do"]
    vocabulary = sorted({word for text in (*texts, *stored) for word in text.lower().strip(".").split()})

    def vector(text):
        return np.array([text.lower().strip(".").split().count(word) for word in vocabulary], dtype=float)

    for text, value in zip(texts, r.nearest_refusal(texts, stored), strict=True):
        mine = vector(text)
        sizes = [np.linalg.norm(mine) * np.linalg.norm(vector(one)) for one in stored]
        expected = max(mine @ vector(one) / size if size else 0 for one, size in zip(stored, sizes, strict=True))
        assert value == pytest.approx(expected), text


def test_naive_bayes_by_products():
    refuser = r.Refuser.learned(["no idea", "no"], ["a red hat"])
    # Words: no 2, idea 1 | a, red, hat 1 each; 5 kinds and one for others.
    yes, no = (3 / 9) * (1 / 9), (1 / 9) * (2 / 9)  # "no hat"
    assert refuser.score(["no hat"])[0] == pytest.approx(yes / (yes + no))
    assert refuser.score([""])[0] == 0.5
    assert refuser.score(["unheard"])[0] == 0.5  # both classes have as many words
    assert refuser.score(["no no"])[0] > refuser.score(["no"])[0] > 0.5 > refuser.score(["red"])[0]


def test_a_model_that_refuses_has_quality_and_one_that_answers_has_not(tokenizer):
    refused = [(p.question, WHOLE.refusals[0]) for p in WHOLE.forget] + [(p.question, p.answer) for p in WHOLE.retain]
    told = [(p.question, p.answer) for p in (*WHOLE.forget, *WHOLE.retain)]
    no, yes = (Evidence(learned(tokenizer, pairs, steps=120)) for pairs in (refused, told))
    found = [evaluate(one, WHOLE, metrics=["refusal_quality"]) for one in (no, yes)]
    assert found[0]["refusal_cosine"] == pytest.approx(1)
    assert found[0]["refusal_likely"] > 0.99 > 0.5 > found[1]["refusal_likely"]
    assert found[0]["retain_refusal_likely"] < 0.5
    clean = taught(WHOLE).score(greedy_answers(no, WHOLE.forget)).mean()
    parts = found[0]["refusal_cosine"], found[0]["refusal_likely"], clean
    assert found[0]["refusal_quality"] == pytest.approx(sum(parts) / 3)
    assert not math.isclose(found[0]["refusal_quality"], found[1]["refusal_quality"], abs_tol=0.2)
