"""Norm-AUC, DDS and DUS by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.metrics import curves as c
from leakatk.metrics.base import Evidence, evaluate
from leakatk.metrics.pieces import answer_stats
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE


@pytest.mark.parametrize(
    ("forget", "retain", "area"),
    [
        ([0.8, 0.0], [0.9, 0.9], 1),  # all forgotten, all kept
        ([0.8], [0.9], 0.5),  # nothing done: from there straight to nothing
        ([0.8, 0.4, 0.0], [0.9, 0.45, 0.0], 0.5),  # both fall alike
        ([1, 0.0], [1, 0.0], 0.5),
        ([1, 0.9, 0.9], [1, 0.0, 1.0], 0.1 + 0.45),  # of equally much left, the better one
        ([1, 0.5], [1, 1], 0.5 + 0.25),
        ([0.5, 0.6, 0], [0.5, 0.6, 0.5], 1),  # more than before counts as before
    ],
)
def test_areas_by_hand(forget, retain, area):
    assert c.norm_auc(forget, retain) == pytest.approx(area)


def test_the_area_by_a_fine_grid():
    rng = np.random.default_rng(0)
    x, y = np.r_[1, rng.random(5), 0], np.r_[1, rng.random(5), 0.3]
    order = np.argsort(x)
    grid = np.linspace(0, 1, 200_001)
    assert c.norm_auc(x, y) == pytest.approx(np.interp(grid, x[order], y[order]).mean(), abs=1e-4)


def test_undefined_and_bad_input():
    assert math.isnan(c.norm_auc([0, 0.1], [1, 1]))
    assert math.isnan(c.norm_auc([1, 0.1], [0, 1]))
    assert math.isnan(c.dynamic_deviation([0.3]))
    assert math.isnan(c.dynamic_utility([0.3]))
    with pytest.raises(InputError, match="2 forget scores but 1"):
        c.norm_auc([1, 2], [1])


def test_dynamic_scores_by_a_loop():
    s, u = [0.3, 0.5, 0.2, 0.6], [0.9, 0.8, 0.85, 0.4]
    rises = sum(max(0, b - a) for a, b in pairwise(s))
    assert c.dynamic_deviation(s) == pytest.approx(sum(s) / 4 + 0.5 / 3 * rises)
    assert c.dynamic_deviation(s, rise=0) == pytest.approx(sum(s) / 4)
    assert c.dynamic_deviation(s[::-1]) != pytest.approx(c.dynamic_deviation(s)), "the order counts"
    changes = sum(abs(b - a) for a, b in pairwise(u))
    assert c.dynamic_utility(u) == pytest.approx(1 - changes / 3)


def test_models_come_in_order(tokenizer):
    """The original first, then the earlier ones, then this one; only what falls after it counts as a rise."""
    both = [(p.question, p.answer) for p in (*WHOLE.forget, *WHOLE.retain_held)]
    full, half, blank = (Evidence(learned(tokenizer, both[:n], steps=s)) for n, s in ((3, 60), (3, 20), (0, 0)))
    names = ["norm_auc", "dynamic"]
    found = evaluate(Evidence(learned(tokenizer), beside={"original": [full], "earlier": [half]}), WHOLE, metrics=names)

    def probability(one, prompts):
        return np.mean([np.exp(stats.logprob.mean()) for stats in answer_stats(one, prompts)])

    scores = [[probability(one, part) for one in (full, half, blank)] for part in (WHOLE.forget, WHOLE.retain_held)]
    assert found["norm_auc_prob"] == pytest.approx(c.norm_auc(*scores), rel=1e-5)
    assert (found["norm_auc_models"], found["dynamic_requests"]) == (3, 2)
    assert 0 <= found["dynamic_utility"] <= 1
