"""The classifier of gibberish: its letters counted a second time, its weights at the minimum, and what it tells apart."""

import math
from random import Random

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.metrics import gibberish as g
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.pieces import greedy_answers
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE

SEEN, UNSEEN = make_world(1, pretraining=0), make_world(2, pretraining=0)
TEXTS = [p.answer for p in SEEN.retain] + list(SEEN.refusals)


def test_letters_counted_a_second_time():
    """Witten-Bell with loops over the texts, for one string of each length."""
    texts = ["abcab", "abd", "abca"]
    letters = g.Letters.of(texts)
    marked = ["\x02" * 4 + text for text in texts]

    def p(string):
        alone = "".join(texts)
        if len(string) == 1:
            return (alone.count(string) + 1) / (len(alone) + len(set(alone)) + 1)
        follow = [
            text[i] for text in marked for i in range(4, len(text)) if text[: i + 1][-len(string) : -1] == string[:-1]
        ]
        kinds = len(set(follow))
        if not follow:
            return p(string[1:])
        return (follow.count(string[-1]) + kinds * p(string[1:])) / (len(follow) + kinds)

    for string in ("a", "z", "ab", "za", "bc", "abc", "zab", "cabx", "\x02\x02\x02\x02a", "\x02abca"):
        assert letters.probability(string) == pytest.approx(p(string)), string
    for before in ("", "ab", "\x02\x02", "zz"):
        assert sum(letters.probability(before + c) for c in "abcd") < 1, "some is left for letters never seen"
    order = np.mean([
        math.log(p(("\x02\x02\x02\x02abz")[i : i + 5])) - math.log(p("abz"[i])) for i in range(3)
    ])  # fmt: skip
    assert letters.order("ABZ") == pytest.approx(order)
    assert letters.order("") == 0


def test_the_weights_are_at_the_minimum():
    rng = np.random.default_rng(0)
    labels = np.r_[np.ones(20), np.zeros(60)]
    rows = np.c_[np.ones(80), rng.normal(size=(80, 2)) + labels[:, None]]

    def loss(weights):
        signs = np.where(labels == 1, 1, -1)
        each = np.log1p(np.exp(-signs * (rows @ weights)))
        return (each[labels == 1].mean() + each[labels == 0].mean()) / 2 + 0.3 / 2 * np.sum(weights**2)

    found = g.logistic(rows, labels, ridge=0.3)
    assert found == pytest.approx(minimize(loss, np.zeros(3), tol=1e-10).x, abs=1e-4)


def test_it_tells_texts_of_another_world_from_gibberish():
    judge = g.Cleanness.learned(TEXTS)
    clean = judge.score([p.answer for p in UNSEEN.retain])
    assert np.median(clean) > 0.9
    for form in range(4):
        noise = judge.score([g.noises(p.answer, Random(p.id))[form] for p in UNSEEN.retain])
        assert stats.mannwhitneyu(clean, noise).statistic > 0.95 * clean.size * noise.size, form
    assert judge.score(["", " \n"]).tolist() == [0, 0]
    assert judge.score([]).shape == (0,)


def test_noise_is_made_of_the_text():
    shuffled, circle, twice, drawn = g.noises("The cat sat.", Random(0))
    assert sorted(shuffled) == sorted("The cat sat.")
    assert circle.split() == ["The", "cat"] * 4
    assert twice == "The The cat cat sat. sat."
    assert len(drawn) == 12
    letters = g.Letters.of(TEXTS)
    assert g.features(letters, "a b a a")[2:] == (0.5, 2 / 3)
    assert g.features(letters, "one")[2:] == (1, 1)


def test_too_little_to_learn_from():
    with pytest.raises(InputError, match="needs 8 different answers to learn from, got 2"):
        g.Cleanness.learned(["a b", "a b", "c d", " "])


def test_the_numbers_are_of_the_greedy_answers(tokenizer):
    knows = learned(tokenizer, [(p.question, p.answer) for p in WHOLE.forget], steps=100)
    blank = learned(tokenizer)
    evidence = Evidence(knows, retrained=Evidence(blank))
    found = evaluate(evidence, WHOLE, metrics=["cleanness", "cleanness_retrained"])
    judge = g.taught(WHOLE)
    mine, theirs = (judge.score(greedy_answers(Evidence(one), WHOLE.forget)) for one in (knows, blank))
    assert found["cleanness"] == pytest.approx(mine.mean())
    assert found["cleanness_below_half"] == np.mean(mine < 0.5)
    assert found["cleanness_of_retrained"] == pytest.approx(theirs.mean())
    assert found["cleanness_ks"] == pytest.approx(stats.ks_2samp(mine, theirs).pvalue)
    assert found["cleanness"] > 0.9 > found["cleanness_of_retrained"]
