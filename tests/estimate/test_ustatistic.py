"""The U-statistic against enumeration and integer arithmetic; the scores that it takes and refuses."""

import math
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from leakatk.errors import InputError
from leakatk.estimate.ustatistic import leak_of_counts, leak_weights, per_prompt_leak, score_rows


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


def test_ragged_rows_equal_each_prompt_alone() -> None:
    rng = np.random.default_rng(0)
    rows = [rng.random(n) for n in (5, 9, 5, 30)]
    together = per_prompt_leak(rows, [1, 3, 5])
    for row, values in zip(rows, together, strict=True):
        np.testing.assert_allclose(per_prompt_leak([row], [1, 3, 5])[0], values, atol=1e-14)


def test_so_many_k_that_they_are_taken_in_parts_equal_each_alone() -> None:
    """3,000 weights for each of 3,000 k are more than are held in memory at once."""
    scores = np.random.default_rng(5).random((2, 3000))
    whole = per_prompt_leak(scores, range(1, 3001))
    some = [1, 2, 1500, 2795, 2796, 2797, 2798, 3000]
    np.testing.assert_allclose(per_prompt_leak(scores, some), whole[:, np.array(some) - 1], rtol=1e-12)
    assert (np.diff(whole, axis=1) >= -1e-12).all()


def test_scores_become_one_row_a_prompt() -> None:
    rows, dropped = score_rows([[0, 1], (0.5,), np.array([True, False, True])])
    assert [row.tolist() for row in rows] == [[0, 1], [0.5], [1, 0, 1]]
    assert all(row.dtype == float for row in rows)
    assert dropped == 0
    rows, dropped = score_rows([[np.nan, 1, np.nan], [0, 0]], missing="allow")
    assert ([row.tolist() for row in rows], dropped) == ([[1], [0, 0]], 2)


@pytest.mark.parametrize(
    ("scores", "words"),
    [
        ("0101", "must be an .m, n. array"),
        (b"01", "must be an .m, n. array"),
        ({"p": [0, 1]}, "must be an .m, n. array"),
        (0.5, "must be an .m, n. array"),
        ([], "0 prompts; give at least one prompt"),
        ([[0], []], "Prompt 1 has n = 0 samples"),
        ([[0], [[0, 1]]], "scores of prompt 1 have 2 dimensions"),
        ([[0], [1e101]], "scores of prompt 1 hold an infinite or huge value"),
        ([[0], [-np.inf]], "scores of prompt 1 hold an infinite or huge value"),
        ([[0], [np.nan, 1], [np.nan]], "2 scores are missing .NaN., first at prompt 1"),
    ],
)
def test_scores_that_are_refused(scores: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        score_rows(scores)  # type: ignore[arg-type]


def test_how_missing_ones_are_taken_has_two_answers() -> None:
    with pytest.raises(InputError, match="missing must be 'refuse' or 'allow', got 'zero'"):
        score_rows([[0, 1]], missing="zero")  # type: ignore[arg-type]


def test_more_than_there_is_is_refused_and_the_shortest_prompt_named() -> None:
    with pytest.raises(InputError, match="k=3 is more than the 2 samples of prompt 1"):
        per_prompt_leak([[0, 1, 0], [0, 1], [0, 1, 1, 1]], [1, 3])
