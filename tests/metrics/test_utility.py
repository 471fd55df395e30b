"""Model utility and its parts."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leakatk.errors import InputError
from leakatk.metrics import utility as u


def test_no_torch():
    code = "import leakatk.metrics.utility, leakatk.metrics.privacy, sys; print('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_mean_logprob_and_probability():
    means = u.mean_logprob([[-1.0, -3.0], [], [-0.5]])
    assert means[0] == -2
    assert math.isnan(means[1])
    assert u.probability(means)[2] == pytest.approx(math.exp(-0.5))


def test_choice_probability_by_hand():
    found = u.choice_probability([0.6, 0.1], [[0.2, 0.2], [0.1, 0.1, 0.1]])
    np.testing.assert_allclose(found, [0.6, 0.25], atol=1e-9)


@given(st.lists(st.floats(1e-6, 1), min_size=9, max_size=9))
def test_model_utility_equals_scipy(values):
    assert u.model_utility(dict(zip(u.NINE, values, strict=True))) == pytest.approx(stats.hmean(values))


def test_model_utility():
    nine = dict.fromkeys(u.NINE, 0.5)
    assert u.model_utility(nine) == pytest.approx(0.5)
    assert u.model_utility({**nine, "retain_rouge": 0.0}) == 0
    assert math.isnan(u.model_utility({**nine, "retain_rouge": math.nan, "retain_prob": 0.0}))
    assert u.model_utility({**nine, "world_facts_truth": 0.1}) == pytest.approx(9 / (8 / 0.5 + 10))
    with pytest.raises(InputError, match="missing: world_facts_truth"):
        u.model_utility(dict.fromkeys(u.NINE[:-1], 0.5))
    with pytest.raises(InputError, match="-1"):
        u.model_utility({**nine, "retain_prob": -1})


def test_deviation_score():
    assert u.deviation_score(0, 1) == 0
    assert u.deviation_score(0.3, 0.6) == pytest.approx(50)
    assert math.isnan(u.deviation_score(math.nan, 1))
    with pytest.raises(InputError, match="forget_rouge"):
        u.deviation_score(30, 0.6)


def test_bad_input():
    with pytest.raises(InputError, match="2 rows for 1 questions"):
        u.truth_ratio([-1.0], [[-1.0], [-2.0]])
    with pytest.raises(InputError, match="non-empty"):
        u.forget_quality([], [1.0])
    with pytest.raises(InputError, match="convention 'x'"):
        u.extraction_strength([[True]], "x")
