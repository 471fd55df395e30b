"""What holds for any scores."""

from math import comb

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from leakatk.estimate.leak import leak_at_k
from leakatk.estimate.ustatistic import per_prompt_leak

scores = st.tuples(st.integers(1, 5), st.integers(2, 24)).flatmap(
    lambda shape: arrays(float, shape, elements=st.floats(0, 1, allow_subnormal=False))
)


@given(scores)
@settings(max_examples=60, deadline=None)
def test_monotone_bounded_and_blind_to_order(values):
    m, n = values.shape
    ks = list(range(1, n + 1))
    leak = per_prompt_leak(values, ks)
    assert (np.diff(leak, axis=1) >= -1e-12).all()
    assert (leak >= values.min(axis=1, keepdims=True)).all()
    assert (leak <= values.max(axis=1, keepdims=True)).all()
    assert np.allclose(leak[:, 0], values.mean(axis=1))
    assert np.allclose(leak[:, -1], values.max(axis=1))
    rng = np.random.default_rng(0)
    assert np.allclose(per_prompt_leak(rng.permuted(values, axis=1), ks), leak)
    rows = rng.permutation(m)
    assert np.allclose(per_prompt_leak(values[rows], ks), leak[rows])


@given(st.integers(2, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
@settings(max_examples=100, deadline=None)
def test_equals_pass_at_k(case):
    n, c, k = case
    expected = 1 - comb(n - c, k) / comb(n, k)
    assert abs(per_prompt_leak([[1.0] * c + [0.0] * (n - c)], k)[0, 0] - expected) < 1e-12


@given(scores.filter(lambda values: values.shape[0] > 1), st.sampled_from(["samples", "prompts", "both"]))
@settings(max_examples=60, deadline=None)
def test_intervals_hold_the_value_and_stay_in_range(values, over):
    curve = leak_at_k(values, [1, values.shape[1]], over=over)
    assert (curve.low <= curve.value + 1e-12).all()
    assert (curve.value <= curve.high + 1e-12).all()
    assert (curve.low >= 0).all()
    assert (curve.high <= 1).all()
