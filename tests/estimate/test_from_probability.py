from decimal import Decimal, getcontext
from itertools import product

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.from_probability import (
    leak_bounds,
    leak_from_logprob,
    leak_from_probability,
    mean_leak,
    probability_bounds,
)


@pytest.mark.parametrize("p", [0.0, 1e-300, 1e-12, 1e-6, 0.3, 0.999999, 1.0])
@pytest.mark.parametrize("k", [1, 128, 1_000_000])
def test_stable_for_any_p_and_k(p: float, k: int) -> None:
    getcontext().prec = 400
    exact = float(1 - (1 - Decimal(p)) ** k)
    assert float(leak_from_probability(p, k)) == pytest.approx(exact, rel=1e-9, abs=0)
    if p > 0:
        assert float(leak_from_logprob(np.log(p), k)) == pytest.approx(exact, rel=1e-9, abs=0)


def test_log_probabilities_below_the_smallest_float() -> None:
    assert float(leak_from_logprob(-746.0, 1_000_000)) == pytest.approx(np.exp(-746 + np.log(1e6)), rel=1e-9)
    assert float(leak_from_logprob(-np.inf, 1_000_000)) == 0
    assert float(leak_from_logprob(0.0, 1)) == 1


def test_mean_over_prompts() -> None:
    values = mean_leak(np.log([0.5, 0.25]), [1, 2])
    np.testing.assert_allclose(values, [0.375, (0.75 + 0.4375) / 2])
    with pytest.raises(InputError, match="missing"):
        mean_leak([-1.0, np.nan], [1])


def test_bounds_hold_the_truth_and_meet_when_everything_is_seen() -> None:
    """A three-letter answer from a known distribution: all 27 answers are enumerated."""
    letters = {"a": 0.9, "b": 0.09, "c": 0.01}
    answers = ["".join(word) for word in product(letters, repeat=3)]
    logs = [sum(np.log(letters[c]) for c in word) for word in answers]
    leaks = [word.count("c") >= 2 for word in answers]
    truth = sum(np.exp(log) for log, leak in zip(logs, leaks, strict=True) if leak)

    rng = np.random.default_rng(0)
    for size in (1, 5, 100, 2000):
        drawn = rng.choice(27, size=size, p=np.exp(logs))
        bounds = probability_bounds([answers[i] for i in drawn], [logs[i] for i in drawn], [leaks[i] for i in drawn])
        assert bounds.low <= truth <= bounds.high
        low, high = leak_bounds([bounds], [1, 128, 1_000_000])
        exact = leak_from_probability(truth, [1, 128, 1_000_000])
        assert (low <= exact + 1e-12).all()
        assert (exact <= high + 1e-12).all()
    bounds = probability_bounds(answers, logs, leaks)
    assert bounds.answers == 27
    assert bounds.low == pytest.approx(truth, rel=1e-9)
    assert bounds.high == pytest.approx(truth, abs=1e-12)


def test_repeats_count_once_and_missing_says_nothing() -> None:
    bounds = probability_bounds(["x", "x", "y", "z"], [np.log(0.2), np.log(0.2), np.nan, np.log(0.5)], [1, 1, 0, 0])
    assert (bounds.low, bounds.high) == (pytest.approx(0.2), pytest.approx(0.5))
    nothing = probability_bounds([], [], [])
    assert (nothing.low, nothing.high) == (0, 1)


@pytest.mark.parametrize(
    ("answers", "logs", "leaks", "message"),
    [
        (["x"], [0.5], [1], "above 0"),
        (["x", "x"], [-1, -1], [0, 1], "both leaks and does not"),
        (["x"], [-1, -2], [1], "do not match"),
        (["x"], [-1], [0.5], "0 or 1"),
    ],
)
def test_refusals(answers: list[str], logs: list[float], leaks: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        probability_bounds(answers, logs, leaks)
    with pytest.raises(InputError, match="must lie in"):
        leak_from_probability(1.5, 1)
    with pytest.raises(InputError, match="at most 0"):
        leak_from_logprob(0.5, 1)
