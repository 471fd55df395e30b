"""The estimator against enumeration, integer arithmetic and published generations; its options and its refusals."""

import json
import math
import time
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leakatk.errors import InputError, LeakAtKError
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.estimate.ustatistic import leak_of_counts, leak_weights, per_prompt_leak

POWERS = [1, 2, 4, 8, 16, 32, 64, 128]


@pytest.mark.parametrize("kind", ["binary", "real", "ties"])
def test_equals_the_mean_over_all_subsets(kind: str) -> None:
    rng = np.random.default_rng(3)
    draw = {"binary": lambda n: rng.integers(0, 2, n), "real": rng.random, "ties": lambda n: rng.integers(0, 4, n) / 3}
    for n in (1, 2, 5, 9):
        scores = np.asarray(draw[kind](n), dtype=float)
        for k in range(1, n + 1):
            brute = np.mean([max(subset) for subset in combinations(scores, k)])
            assert per_prompt_leak([scores], [k])[0, 0] == pytest.approx(brute, abs=1e-12)


def test_weights_equal_integer_arithmetic_at_200() -> None:
    for k in (1, 2, 3, 10, 64, 128, 199, 200):
        weights = leak_weights(200, k)
        for j in range(1, 201):
            exact = float(Fraction(math.comb(j - 1, k - 1), math.comb(200, k)))
            assert weights[j - 1] == pytest.approx(exact, rel=1e-12, abs=0)


@pytest.mark.parametrize("k", [1, 7, 1000, 500_000, 1_000_000])
def test_weights_at_a_million_samples(k: int) -> None:
    n = 1_000_000
    weights = leak_weights(n, k)
    assert np.isfinite(weights).all()
    assert weights.sum() == pytest.approx(1, rel=1e-12)
    # w_j / w_n = prod over the steps down from n, in exact arithmetic
    exact = Fraction(k, n)
    for j in range(n - 1, max(k, n - 200) - 1, -1):
        exact *= Fraction(j - k + 1, j)
        assert weights[j - 1] == pytest.approx(float(exact), rel=1e-12, abs=0)
    # and far down, where the recurrence has run for up to 10^6 steps
    if k <= 7:
        j = k + 5
        exact = Fraction(math.comb(j - 1, k - 1), math.comb(n, k))
        assert weights[j - 1] == pytest.approx(float(exact), rel=1e-12, abs=0)


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_binary_scores_give_pass_at_k(case: tuple[int, int, int]) -> None:
    n, c, k = case
    scores = np.array([1.0] * c + [0.0] * (n - c))
    expected = 1 - Fraction(math.comb(n - c, k), math.comb(n, k))
    assert per_prompt_leak([scores], [k])[0, 0] == pytest.approx(float(expected), abs=1e-12)
    assert leak_of_counts(n, np.array([k]))[c, 0] == pytest.approx(float(expected), abs=1e-12)


MATRIX = hnp.arrays(float, st.tuples(st.integers(1, 6), st.integers(1, 12)), elements=st.floats(0, 1, width=32))


@settings(deadline=None)
@given(MATRIX, st.randoms(use_true_random=False))
def test_monotone_bounded_and_blind_to_order(scores: np.ndarray, random: object) -> None:
    n = scores.shape[1]
    ks = list(range(1, n + 1))
    values = per_prompt_leak(scores, ks)
    assert (np.diff(values, axis=1) >= -1e-12).all()
    assert (values >= scores.min(axis=1, keepdims=True)).all()
    assert (values <= scores.max(axis=1, keepdims=True)).all()
    np.testing.assert_allclose(values[:, 0], scores.mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(values[:, -1], scores.max(axis=1), atol=1e-12)

    columns, prompts = list(range(n)), list(range(len(scores)))
    random.shuffle(columns)  # type: ignore[attr-defined]
    random.shuffle(prompts)  # type: ignore[attr-defined]
    np.testing.assert_allclose(per_prompt_leak(scores[:, columns], ks), values, atol=1e-12)
    np.testing.assert_allclose(per_prompt_leak(scores[prompts], ks), values[prompts], atol=1e-12)


@settings(deadline=None, max_examples=40)
@given(MATRIX, st.sampled_from(["samples", "prompts", "both"]))
def test_intervals_hold_the_estimate_and_stay_in_range(scores: np.ndarray, over: str) -> None:
    if over != "samples" and len(scores) == 1:
        with pytest.raises(InputError, match="at least 2 prompts"):
            leak_at_k(scores, [1], over=over)
        return
    curve = leak_at_k(scores, range(1, scores.shape[1] + 1), over=over)
    assert (curve.low >= 0).all()
    assert (curve.low <= curve.value).all()
    assert (curve.value <= curve.high).all()
    assert (curve.high <= 1).all()
    assert (curve.high > curve.low).all()


def test_every_prompt_leaked_is_no_certainty() -> None:
    """At k = n the estimate is 1; another n samples could miss: prod P(leak) >= a/2 bounds the mean from below."""
    scores = np.zeros((10, 50))
    scores[:, 0] = 1
    curve = leak_at_k(scores, 50)
    assert curve.value[0] == 1
    assert curve.low[0] == pytest.approx(0.025 ** (1 / 10))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (2, [0.4475, 0.4505, 0.4563, 0.4671, 0.4857, 0.5134, 0.5450, 0.5687]),
        (3, [0.5026, 0.5763, 0.6412, 0.6928, 0.7357, 0.7804, 0.8280, 0.8719]),
    ],
)
def test_published_generations(data_dir, line: int, expected: list[float]) -> None:
    record = json.loads((data_dir / "logs/leakk/generations_n30.json").read_text().splitlines()[line])
    scores = [[response["rougeL_recall"] for response in record["responses"]]]
    assert len(scores[0]) == 900
    assert leak_at_k(scores, POWERS).value.round(4).tolist() == expected


def test_the_curve_says_what_it_is() -> None:
    curve = leak_at_k([[0, 1, 0, 1], [0, 0, 0, 0]], [1, 2, 4])
    assert curve.k.tolist() == [1, 2, 4]
    np.testing.assert_allclose(curve.per_prompt, [[0.5, 5 / 6, 1], [0, 0, 0]])
    np.testing.assert_allclose(curve.value, [0.25, 5 / 12, 0.5])
    assert (curve.over, curve.level, curve.m, curve.n, curve.missing) == ("samples", 0.95, 2, 4, 0)
    assert leak_at_k([[0, 1, 1], [0, 1]], 2).n == (3, 2)


def test_ragged_rows_equal_each_prompt_alone() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.random(n) for n in (5, 9, 5, 30)]
    together = per_prompt_leak(rows, [1, 3, 5])
    for row, values in zip(rows, together, strict=True):
        np.testing.assert_allclose(per_prompt_leak([row], [1, 3, 5])[0], values, atol=1e-14)


def test_missing_scores_are_refused_or_counted_never_zero() -> None:
    scores = [[1.0, np.nan, 1.0], [0.0, 1.0, 0.0]]
    with pytest.raises(InputError, match=r"1 scores are missing .* prompt 0"):
        leak_at_k(scores, 1)
    curve = leak_at_k(scores, [1, 2], missing="allow")
    assert curve.missing == 1
    assert curve.per_prompt[0].tolist() == [1, 1]
    assert curve.n == (2, 3)
    with pytest.raises(InputError, match="k=3 is more than the 2 samples of prompt 0"):
        leak_at_k(scores, 3, missing="allow")
    with pytest.raises(InputError, match="All 2 scores of prompt 1 are missing"):
        leak_at_k([[1.0], [np.nan, np.nan]], 1, missing="allow")


@pytest.mark.parametrize(
    ("scores", "ks", "message"),
    [
        ([[0, 1]], 3, "k=3 is more than the 2 samples"),
        ([[0, 1]], 0, "at least 1"),
        ([[0, 1]], 1.5, "whole number"),
        ([[0, 1]], [], "one or more"),
        ([], 1, "0 prompts"),
        ([[]], 1, "n = 0"),
        (np.empty((3, 0)), 1, "n = 0"),
        ([[0, np.inf]], 1, "infinite"),
        ([["a"]], 1, "must be numbers"),
        ([[[0, 1]]], 1, "2 dimensions"),
    ],
)
def test_refusals(scores: object, ks: object, message: str) -> None:
    with pytest.raises(LeakAtKError, match=message):
        leak_at_k(scores, ks)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(InputError, match="over must be"):
        leak_at_k([[0, 1]], 1, over="runs")
    with pytest.raises(InputError, match="level must"):
        leak_at_k([[0, 1]], 1, level=95)
    with pytest.raises(InputError, match="missing must"):
        leak_at_k([[0, 1]], 1, missing="zero")


def test_excess_is_paired_and_signed() -> None:
    rng = np.random.default_rng(1)
    hard = rng.random(60)[:, None]
    model, reference = rng.random((60, 40)) < 0.6 * hard, rng.random((60, 40)) < 0.5 * hard
    for over in ("samples", "prompts", "both"):
        result = excess(model, reference, [1, 8], over=over)
        np.testing.assert_allclose(result.value, result.model.value - result.reference.value, atol=1e-12)
        assert (result.low < result.value).all()
        assert (result.value < result.high).all()
        back = excess(reference, model, [1, 8], over=over)
        np.testing.assert_allclose(back.low, -result.high, atol=1e-12)
    # Pairing takes out what the prompts share.
    paired = excess(model, reference, [8], over="prompts")
    apart = np.hypot(*[(c.high - c.low)[0] for c in (paired.model, paired.reference)])
    assert (paired.high - paired.low)[0] < 0.7 * apart
    with pytest.raises(InputError, match="60 prompts and the reference 59"):
        excess(model, reference[1:], 1)


def test_speed_of_every_k() -> None:
    scores = np.random.default_rng(0).random((400, 200))
    best = math.inf
    for _ in range(5):
        start = time.perf_counter()
        per_prompt_leak(scores, range(1, 201))
        best = min(best, time.perf_counter() - start)
    assert best < 0.05
