"""The estimator against enumeration, integer arithmetic and published generations; its options and its refusals."""

import json

import numpy as np
import pytest

from leakatk.errors import InputError, LeakAtKError
from leakatk.estimate.leak import excess, leak_at_k

POWERS = [1, 2, 4, 8, 16, 32, 64, 128]


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
