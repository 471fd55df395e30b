"""Whatever comes in: a result, or one clear InputError. Warnings are errors here, so no silent NaN either."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.adaptive import sequential_audit
from leakatk.estimate.certify import certify, plan, samples_to_certify, zero_leak_bound
from leakatk.estimate.forecast import bounds_from_counts, forecast, model_line
from leakatk.estimate.from_probability import (
    ProbabilityBounds,
    leak_bounds,
    leak_from_logprob,
    leak_from_probability,
    mean_leak,
    probability_bounds,
)
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.estimate.ustatistic import per_prompt_leak

GOOD = [[0, 1, 1, 0], [1, 0, 0, 0]]
NAN, INF = np.nan, np.inf


def zeros(start: int, stop: int) -> Any:
    return np.zeros((2, stop - start))


FROM_SCORES: dict[str, Callable[[Any], Any]] = {
    "leak_at_k": lambda s: leak_at_k(s, 1),
    "excess": lambda s: excess(GOOD, s, 1),
    "certify": lambda s: certify(s, 1),
    "forecast": lambda s: forecast(s, 1),
    "per_prompt_leak": lambda s: per_prompt_leak(s, 1),
    "sequential_audit": lambda s: sequential_audit(lambda start, stop: s, 1, sizes=[1], threshold=0.5),
}
FROM_K: dict[str, Callable[[Any], Any]] = {
    "leak_at_k": lambda k: leak_at_k(GOOD, k),
    "certify": lambda k: certify(GOOD, k),
    "forecast": lambda k: forecast(GOOD, k),
    "per_prompt_leak": lambda k: per_prompt_leak(GOOD, k),
    "plan": lambda k: plan(k, m=10, half_width=0.05),
    "zero_leak_bound": lambda k: zero_leak_bound(5, 5, k),
    "samples_to_certify": lambda k: samples_to_certify(k, 0.1, 5),
    "sequential_audit": lambda k: sequential_audit(zeros, k, sizes=[4, 8], threshold=0.5),
    "bounds_from_counts": lambda k: bounds_from_counts([1, 2], 4, k),
    "model_line": lambda k: model_line([1, 2], 4, k),
    "leak_from_probability": lambda k: leak_from_probability(0.5, k),
    "leak_from_logprob": lambda k: leak_from_logprob(-1.0, k),
    "mean_leak": lambda k: mean_leak([-1.0], k),
    "leak_bounds": lambda k: leak_bounds([ProbabilityBounds(0, 1, 0)], k),
}
BAD_SCORES = [
    None, "abc", 3.0, [], [[]], [0.0, 1.0], np.zeros((2, 2, 2)), [[NAN, 1.0]], [[NAN]], [[INF, 0]], [[1e308, -1e308]],
    [["a"]], [["1", "0"]], [[1j, 0]], [[None, 1]], [[[0], [1, 2]]], {"a": [1, 0]}, [{0, 1}],
    np.array([["2020-01-01"]], dtype="datetime64[D]"), np.ma.masked_array([[1.0, 0.0]], mask=[[True, False]]),
]  # fmt: skip
BAD_KS = [0, -1, NAN, INF, "a", None, 1j]  # 1.5 and [] are fine for exact probabilities
WORSE_KS = [1.5, [], [[1]], ["1"], 10**30, 1e20]


@pytest.mark.parametrize("name", FROM_SCORES)
def test_scores(name: str) -> None:
    for bad in BAD_SCORES:
        with pytest.raises(InputError, match=r"got|missing|0 prompts|n = 0|dimensions|infinite"):
            FROM_SCORES[name](bad)


@pytest.mark.parametrize("name", FROM_K)
def test_k(name: str) -> None:
    exact = name in ("leak_from_probability", "leak_from_logprob", "mean_leak", "leak_bounds")
    for bad in BAD_KS if exact else BAD_KS + WORSE_KS:
        with pytest.raises(InputError, match=r"k|sizes must increase"):
            FROM_K[name](bad)


@pytest.mark.parametrize("level", [0, 1, -1, 2, NAN, INF, "x", None])
def test_level(level: Any) -> None:
    for call in (
        lambda: leak_at_k(GOOD, 1, level=level),
        lambda: certify(GOOD, 1, level=level),
        lambda: forecast(GOOD, 1, level=level),
        lambda: plan(2, m=10, half_width=0.05, level=level),
        lambda: zero_leak_bound(5, 5, 1, level=level),
        lambda: sequential_audit(zeros, 1, sizes=[4, 8], threshold=0.5, level=level),
    ):
        with pytest.raises(InputError, match="level must lie between 0 and 1"):
            call()


SIZES = [0, -1, 1.5, NAN, INF, "x", [0, 3], [2, NAN]]


@pytest.mark.parametrize("bad", SIZES, ids=repr)
def test_sizes_and_widths(bad: Any) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: zero_leak_bound(bad, 2, 1),
        lambda: zero_leak_bound(5, bad, 1),
        lambda: samples_to_certify(1, 0.1, bad),
        lambda: samples_to_certify(1, bad, 5),
        lambda: plan(2, m=bad, half_width=0.05),
        lambda: plan(2, m=5, certify=bad),
        lambda: sequential_audit(zeros, 1, sizes=bad, threshold=0.5),
        lambda: bounds_from_counts([1, 2], bad, 2),
        lambda: model_line([1, 2], bad, 2),
    ]
    if bad != 1.5:  # which is a number of tokens, if no width to wish for
        calls += [
            lambda: plan(2, m=5, half_width=bad),
            lambda: plan(2, m=5, half_width=0.1, tokens_per_sample=bad),
            lambda: sequential_audit(zeros, 1, sizes=[4, 8], half_width=bad),
        ]
    for call in calls:
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: leak_from_probability([0.5, 1.5], 2),
        lambda: leak_from_probability("x", 2),
        lambda: leak_from_logprob(0.5, 2),
        lambda: mean_leak([-1.0, NAN], 2),
        lambda: probability_bounds([[1]], [-1], [1]),
        lambda: probability_bounds(None, None, None),  # type: ignore[arg-type]
        lambda: probability_bounds(["a"], ["x"], [1]),
        lambda: probability_bounds(["a"], [-1], [2]),
        lambda: probability_bounds(["a"], [-1, -2], [1]),
        lambda: ProbabilityBounds(0.9, 0.1, 1),
        lambda: ProbabilityBounds(NAN, 1, 1),
        lambda: leak_bounds([], 2),
        lambda: forecast([[0, 1], [1, 1]], 2, exact=[ProbabilityBounds(0, 1, 1)]),
        lambda: forecast(GOOD, 2, threshold="x"),  # type: ignore[arg-type]
        lambda: forecast([[0, 0.5]], 2),
        lambda: forecast([[0, 1, 1], [1]], 2),
        lambda: bounds_from_counts([1, 5], 4, 2),
        lambda: model_line([-1], 4, 2),
        lambda: certify([[-0.5, 0.2]], 1),
        lambda: certify(GOOD, 5),
        lambda: leak_at_k(GOOD, 1, over="prompts", clusters=["a"]),
        lambda: leak_at_k(GOOD, 1, over="prompts", clusters=[[1], [2]]),
        lambda: leak_at_k(GOOD, 1, over="prompts", clusters=3),  # type: ignore[arg-type]
        lambda: leak_at_k(GOOD, 1, over="both", clusters=["a", "a"]),
        lambda: leak_at_k(GOOD, 1, over=["samples"]),  # type: ignore[arg-type]
        lambda: leak_at_k([[0, 1, 1], [1]], 2),
        lambda: sequential_audit(zeros, 1, sizes=[8, 4], threshold=0.5),
        lambda: sequential_audit(zeros, 1, sizes=[4]),
    ],
)
def test_other_arguments(call: Callable[[], Any]) -> None:
    with pytest.raises(InputError):
        call()


def test_a_draw_that_changes_its_prompts_is_refused() -> None:
    prompts = itertools.count(2)
    with pytest.raises(InputError, match="the same prompts each time"):
        sequential_audit(lambda start, stop: np.zeros((next(prompts), stop - start)), 1, sizes=[4, 8], half_width=1e-9)


def test_what_is_odd_but_right() -> None:
    """Any order of ks, repeats, numbers as other types, generators, prompts that repeat, negative scores, huge k."""
    curve = leak_at_k(GOOD, [4, 1, 1])
    assert curve.value.tolist() == [1, 0.375, 0.375]
    assert leak_at_k((row for row in GOOD), np.int8(4)).value.tolist() == [1]  # type: ignore[arg-type]
    assert leak_at_k(np.array(GOOD, dtype=bool), 1.0).value.tolist() == [0.375]  # type: ignore[arg-type]
    assert leak_at_k(GOOD * 3, 1).m == 6
    below = leak_at_k([[-0.5, 0.2], [0.1, 2.0]], 1)
    assert -0.5 <= below.low[0] < below.value[0] < below.high[0] <= 2
    assert forecast(GOOD, 10**15).high[0] == 1


def test_a_million_samples() -> None:
    rng = np.random.default_rng(0)
    scores = (rng.random((1, 10**6)) < 3e-6).astype(float)
    ks = [1, 1000, 10**6]
    curve = leak_at_k(scores, ks)
    assert (curve.low < curve.value).all()
    assert (certify(scores, ks).high >= curve.value).all()
    assert forecast(scores, 10**7).low[0] > 0
    graded = leak_at_k(scores * 0.7, [1000])
    np.testing.assert_allclose(graded.value, 0.7 * curve.value[1])
