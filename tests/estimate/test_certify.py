import math

import numpy as np
import pytest
from scipy import optimize

from leakatk.errors import InputError
from leakatk.estimate.certify import certify, plan, samples_to_certify, zero_leak_bound
from leakatk.estimate.leak import leak_at_k


def test_zero_leak_bound_is_the_published_number() -> None:
    assert zero_leak_bound(200, 400, 128) == pytest.approx(0.0048, abs=5e-5)
    assert zero_leak_bound(200, 1, 1) == pytest.approx(1 - 0.05 ** (1 / 200))


def test_zero_leak_bound_is_the_worst_case() -> None:
    """Against direct maximisation over the leak probabilities, with prompts of unequal n."""
    sizes, k = np.array([10, 10, 25, 60]), 12

    def negative(doubt: np.ndarray) -> float:
        return -float(-np.expm1(-k * doubt).mean())

    best = min(
        optimize.minimize(
            negative,
            start,
            bounds=[(0, None)] * 4,
            constraints={"type": "ineq", "fun": lambda doubt: math.log(20) - sizes @ doubt},
        ).fun
        for start in np.random.default_rng(0).random((10, 4)) * 0.1
    )
    assert zero_leak_bound(sizes, 4, k) == pytest.approx(-best, rel=1e-4)


@pytest.mark.parametrize(("k", "bound", "m"), [(128, 0.005, 400), (128, 0.0048, 400), (1, 0.05, 1), (64, 0.001, 40)])
def test_samples_to_certify_is_the_smallest_n(k: int, bound: float, m: int) -> None:
    n = samples_to_certify(k, bound, m)
    assert zero_leak_bound(n, m, k) <= bound
    assert n == 1 or zero_leak_bound(n - 1, m, k) > bound


def test_nothing_leaked_is_a_bound_at_any_k() -> None:
    result = certify(np.zeros((400, 200)), [1, 128, 10_000])
    assert result.exact
    np.testing.assert_allclose(result.high, 1 - 0.05 ** (np.array([1, 128, 10_000]) / 80_000))
    assert result.value[:2].tolist() == [0, 0]
    assert math.isnan(result.value[2])


def test_bound_with_leaks_lies_above_the_estimate_and_shrinks() -> None:
    rng = np.random.default_rng(0)
    few, many = (rng.random((400, n)) < 0.01 for n in (100, 1600))
    for k in (1, 16, 64):
        loose, tight = certify(few, k), certify(many, k)
        assert loose.value < loose.high
        assert not loose.exact
        assert tight.high - tight.value < 0.5 * (loose.high - loose.value)
    with pytest.raises(InputError, match="n >= k"):
        certify(few, 200)
    with pytest.raises(InputError, match=r"scores in \[0, 1\]"):
        certify([[0, 2.0]], 1)


def test_one_more_leak_never_lowers_the_bound() -> None:
    scores = np.zeros((20, 50))
    last = certify(scores, [1, 10]).high
    for i in range(20):
        scores[i, 0] = 1
        high = certify(scores, [1, 10]).high
        assert (high >= last).all()
        last = high


def test_plan_for_a_half_width_delivers_it() -> None:
    """A pilot of 50 samples plans n; the run with that n has about the wanted half width."""
    rng = np.random.default_rng(5)
    p = np.where(rng.random(300) < 0.6, 0, rng.beta(0.3, 3, 300))[:, None]
    want = plan(16, m=300, half_width=0.01, pilot=rng.random((300, 50)) < p, tokens_per_sample=40)
    curve = leak_at_k(rng.random((300, want.n)) < p, 16)
    assert (curve.high - curve.low)[0] / 2 == pytest.approx(0.01, rel=0.2)
    assert want.samples == 300 * want.n
    assert want.tokens == 40 * want.samples
    assert want.half_width_prompts is not None
    assert want.half_width_prompts > 0.01


def test_plan_for_graded_scores() -> None:
    rng = np.random.default_rng(5)
    spread = rng.random((200, 1))
    want = plan(8, m=200, half_width=0.005, pilot=rng.random((200, 40)) * spread)
    curve = leak_at_k(rng.random((200, want.n)) * spread, 8)
    assert (curve.high - curve.low)[0] / 2 == pytest.approx(0.005, rel=0.25)


def test_plan_without_a_pilot_names_its_assumption() -> None:
    sizes = [plan(k, m=400, half_width=0.01).n for k in (1, 8, 64, 128)]
    assert sizes == sorted(sizes)
    assert sizes[0] < 10
    assert sizes[-1] > 200
    assert "assumed" in plan(8, m=400, half_width=0.01).basis


def test_plan_to_certify() -> None:
    want = plan(128, m=400, certify=0.005, tokens_per_sample=48)
    assert want.n == samples_to_certify(128, 0.005, 400) == 192
    assert want.tokens == 192 * 400 * 48
    assert want.half_width is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either half_width or certify"),
        ({"half_width": 0.01, "certify": 0.01}, "either half_width or certify"),
        ({"half_width": 0}, "above 0"),
        ({"half_width": 1e-9}, "More than 1,000,000"),
        ({"certify": 0}, "above 0 and below 1, got 0"),
        ({"certify": 1.5}, "above 0 and below 1, got 1.5"),
        ({"certify": 0.1, "level": 95}, "level"),
    ],
)
def test_plan_refusals(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        plan(8, m=100, **options)
