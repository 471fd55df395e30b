"""Membership attacks, by hand, by brute force and against scikit-learn."""

import math
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakatk.errors import InputError
from leakatk.metrics import membership as p

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=15)
many = st.lists(st.floats(-1e3, 1e3).map(lambda x: round(x, 1)), min_size=2, max_size=60)


def test_scores_by_hand():
    steps = [[-1.0, -3.0, -2.0, -10.0, -4.0]]
    assert p.loss_scores(steps)[0] == 4
    assert p.min_k_scores(steps)[0] == 7  # 40% of five tokens: -10 and -4
    assert p.min_k_scores([[-1.0, -2.0]])[0] == 2  # at least one
    assert p.min_k_scores(steps, 1.0)[0] == 4
    assert p.zlib_scores(steps, ["abc"])[0] == 4 / len(zlib.compress(b"abc"))
    assert p.reference_scores(steps, [[-1.0]])[0] == 3


def test_min_k_plus_plus_standardises_each_token():
    found = p.min_k_plus_plus_scores([[-4.0, -1.0]], [[-2.0, -2.0]], [[2.0, 0.5]], share=0.5)
    assert found[0] == pytest.approx(1.0)  # z = -1 and 2


@given(scores, scores)
def test_auc_is_the_share_of_ordered_pairs(members, others):
    pairs = [(m < o) + 0.5 * (m == o) for m in members for o in others]
    assert p.auc(members, others) == pytest.approx(np.mean(pairs))
    assert p.auc(others, members) == pytest.approx(1 - p.auc(members, others))


@given(scores, scores, st.sampled_from([0, 0.01, 0.1, 0.34, 0.5, 1]))
def test_tpr_is_the_best_threshold_by_trying_all(members, others, fpr):
    thresholds = [*members, *others, math.inf]
    best = max(
        np.mean([m < t for m in members])
        for t in [*thresholds, min(thresholds)]
        if np.mean([o < t for o in others]) <= fpr + 1e-12
    )
    assert p.tpr_at_fpr(members, others, fpr) == pytest.approx(best)


@settings(deadline=None)  # the first example imports scikit-learn
@given(many, many, st.sampled_from([0.01, 0.05, 0.25]))
def test_attacks_equal_scikit_learn(members, others, fpr):
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    labels = [1] * len(members) + [0] * len(others)
    found = [-score for score in (*members, *others)]  # ours are low for a member
    assert p.auc(members, others) == pytest.approx(metrics.roc_auc_score(labels, found), abs=1e-12)
    false, true, _ = metrics.roc_curve(labels, found, drop_intermediate=False)
    assert p.tpr_at_fpr(members, others, fpr) == pytest.approx(true[false <= fpr + 1e-12].max(), abs=1e-12)


def test_tpr_at_low_fpr():
    assert p.tpr_at_fpr(np.arange(100), np.arange(100) + 1000, 0.01) == 1
    assert p.tpr_at_fpr(np.arange(100), np.arange(100), 0.05) == pytest.approx(0.05)


def test_bad_input():
    with pytest.raises(InputError, match="1 of 2 member scores are missing"):
        p.auc([1.0, math.nan], [1.0])
    with pytest.raises(InputError, match="non-empty"):
        p.auc([], [1.0])
    with pytest.raises(InputError, match="false positive rate"):
        p.tpr_at_fpr([1.0], [1.0], 2)
    with pytest.raises(InputError, match="share of tokens"):
        p.min_k_scores([[-1.0]], 0)
    with pytest.raises(InputError, match="1 texts but 2"):
        p.zlib_scores([[-1.0]], ["a", "b"])
