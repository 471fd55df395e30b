import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leakatk.errors import InputError
from leakatk.metrics import utility as u

logprobs = st.floats(-8, -0.01)


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


def test_truth_ratio_conventions_by_hand():
    right, wrong = [math.log(0.5)], [[math.log(0.1), math.log(0.4)]]
    assert u.truth_ratio(right, wrong)[0] == pytest.approx(0.2 / 0.5, abs=1e-9)  # geometric mean of .1 and .4
    assert u.truth_ratio(right, wrong, "paper")[0] == pytest.approx(0.25 / 0.5, abs=1e-12)  # arithmetic
    with pytest.raises(InputError, match="convention 'best'"):
        u.truth_ratio(right, wrong, "best")


@given(st.lists(st.tuples(logprobs, st.lists(logprobs, min_size=1, max_size=5)), min_size=1, max_size=6))
def test_arithmetic_ratio_is_never_below_the_geometric(items):
    right, wrong = [r for r, _ in items], [w for _, w in items]
    assert (u.truth_ratio(right, wrong, "paper") >= u.truth_ratio(right, wrong) * (1 - 1e-6)).all()


@given(st.lists(st.floats(0, 50), min_size=1, max_size=20))
def test_truth_summaries_lie_between_0_and_1(ratios):
    assert 0 <= u.truth_on_forget(ratios) <= 1
    assert 0 <= u.truth_on_utility(ratios) <= 1


def test_forget_quality_tells_a_model_that_knows_from_one_that_does_not():
    rng = np.random.default_rng(0)
    retrained, again, knows = rng.lognormal(0, 0.5, 400), rng.lognormal(0, 0.5, 400), rng.lognormal(-1, 0.5, 400)
    assert u.forget_quality(again, retrained) > 0.05
    assert u.forget_quality(knows, retrained) < 1e-10


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 1000), min_size=9, max_size=9, unique=True), st.integers(2, 7))
def test_forget_quality_is_the_share_of_splits_that_are_as_far_apart(values, size):
    """The exact p-value of the two-sample test, by trying every way to deal these ratios to the two models."""

    def distance(chosen):
        above = [(v in chosen) / size - (v not in chosen) / (len(values) - size) for v in sorted(values)]
        return max(abs(gap) for gap in np.cumsum(above))

    observed = distance(set(values[:size]))
    splits = [distance(set(chosen)) for chosen in itertools.combinations(values, size)]
    share = np.mean([d >= observed - 1e-9 for d in splits])
    assert u.forget_quality(values[:size], values[size:]) == pytest.approx(share, abs=1e-9)


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


@pytest.mark.parametrize(
    ("correct", "memorised", "strength", "published"),
    [
        ([1, 1, 1, 1], 1, 1, 1),
        ([0, 1, 1, 1], 0.75, 0.75, 0.75),
        ([1, 1, 0, 1], 0.75, 0.25, 0.25),
        ([1, 1, 1, 0], 0.75, 0, 0.25),  # the published search cannot return 0
        ([0, 0, 0, 0], 0, 0, 0.25),
    ],
)
def test_memorisation_by_hand(correct, memorised, strength, published):
    right = [np.array(correct, dtype=bool)]
    assert u.exact_memorization(right)[0] == memorised
    assert u.extraction_strength(right)[0] == strength
    assert u.extraction_strength(right, "open-unlearning")[0] == published


@given(st.lists(st.booleans(), min_size=1, max_size=30))
def test_extraction_strength_is_the_definition(correct):
    """Against the definition itself: the shortest prefix after which all is right."""
    t = len(correct)
    prefix = next(k for k in range(t + 1) if all(correct[k:]))
    assert u.extraction_strength([correct])[0] == pytest.approx(1 - prefix / t)
    assert u.extraction_strength([correct])[0] <= u.exact_memorization([correct])[0] + 1e-12


def test_answers_without_tokens_are_missing_not_zero():
    assert math.isnan(u.exact_memorization([[]])[0])
    assert math.isnan(u.extraction_strength([[]])[0])


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
