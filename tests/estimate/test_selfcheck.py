import itertools

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.selfcheck import check_verbatim


def brute(n, p):
    """Distribution of the total by trying every outcome."""
    total = np.zeros(sum(n) + 1)
    trials = [share for count, share in zip(n, p, strict=True) for _ in range(count)]
    for outcome in itertools.product((0, 1), repeat=len(trials)):
        total[sum(outcome)] += np.prod([q if hit else 1 - q for hit, q in zip(outcome, trials, strict=True)])
    return total


@pytest.mark.parametrize(
    ("n", "p"), [([3, 4, 2], [0.2, 0.7, 0.95]), ([5], [0.5]), ([2, 2, 2, 2], [0.01, 0.3, 0.3, 0.99])]
)
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_the_range_by_definition(n, p, level):
    mass, tail = brute(n, p), (1 - level) / 2
    totals = np.arange(len(mass))
    low = max(t for t in totals if mass[:t].sum() <= tail)
    high = min(t for t in totals if mass[t + 1 :].sum() <= tail)
    found = check_verbatim([0] * len(n), n, np.log(p), level=level)
    assert (found.low, found.high) == (low, high)
    assert found.expected == pytest.approx(np.dot(n, p))


def test_its_coverage():
    rng = np.random.default_rng(1)
    p = rng.uniform(size=50) ** 3
    outside = sum(not check_verbatim(rng.binomial(40, p), [40] * 50, np.log(p), level=0.9).inside for _ in range(300))
    assert outside <= 45  # 30 on average at most; 45 is 2.9 standard deviations


def test_wrong_probabilities_are_found_and_said():
    p = np.full(4, 0.93)
    counts = [46, 47, 46, 48]
    assert check_verbatim(counts, [50] * 4, np.log(p)).inside
    assert check_verbatim(counts, [50] * 4, np.log(p)).sentence == ""
    for wrong in (np.log(p) - 12, np.log(p / 2), np.full(4, -np.inf), np.zeros(4)):
        found = check_verbatim(counts, [50] * 4, wrong)
        assert not found.inside
        assert "187 of 200 samples" in found.sentence
        assert "do not trust" in found.sentence
        assert found.block()["inside"] is False


def test_the_answer_in_other_tokens_is_found():
    """The exact value is of tokens that the model does not use: none is sampled, as it says, but the text is."""
    found = check_verbatim([0, 0], [50, 50], [-15.0, -15.0], said=[46, 47])
    assert not found.inside
    assert "93 of 100 samples say the true answer, 0 of them in its own tokens" in found.sentence
    assert check_verbatim([46, 47], [50, 50], [-0.07, -0.07], said=[46, 48]).inside


def test_rounding_widens():
    counts, n, logp = [500], [1000], [np.log(0.4)]
    assert not check_verbatim(counts, n, logp).inside
    assert check_verbatim(counts, n, logp, rounding=0.25).inside


def test_extremes():
    assert check_verbatim([0], [100000], [-np.inf]).inside
    assert check_verbatim([100000], [100000], [0.0]).inside
    assert not check_verbatim([1], [100000], [-np.inf]).inside
    wide = check_verbatim([0] * 400, [200] * 400, np.log(np.linspace(0.01, 0.99, 400)))
    assert wide.low < wide.expected < wide.high


def test_bad_input():
    for counts, n, logp in (([1], [1, 2], [0.0]), ([3], [2], [0.0]), ([1], [2], [np.nan]), ([1], [2], [0.5])):
        with pytest.raises(InputError):
            check_verbatim(counts, n, logp)
