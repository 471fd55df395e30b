import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.estimate.adaptive import sequential_audit
from leakatk.estimate.from_probability import leak_from_probability

SIZES = [32, 64, 128, 256]


def drawing(rng, p):
    return lambda start, stop: (rng.random((p.size, stop - start)) < p[:, None]).astype(float)


def test_stops_early_when_the_verdict_is_plain():
    rng = np.random.default_rng(0)
    leaky = sequential_audit(drawing(rng, np.full(50, 0.05)), 32, sizes=SIZES, threshold=0.1)
    assert (leaky.verdict, leaky.n, len(leaky.looks)) == ("above", 32, 1)
    clean = sequential_audit(drawing(rng, np.zeros(50)), 32, sizes=SIZES, threshold=0.1)
    assert clean.verdict == "below"
    assert clean.n < 256
    close = sequential_audit(drawing(rng, np.full(50, 0.0033)), 32, sizes=SIZES, threshold=0.1)
    assert close.n == 256


def test_stops_at_the_half_width():
    rng = np.random.default_rng(0)
    found = sequential_audit(drawing(rng, rng.uniform(0, 0.02, 100)), 16, sizes=SIZES, half_width=0.04)
    assert found.verdict == "precise"
    assert (found.high - found.low) / 2 <= 0.04
    assert found.n < 256


@pytest.mark.parametrize("threshold", [0.08, 0.1, 0.12])
def test_the_interval_holds_and_the_verdict_is_right_however_it_stops(threshold):
    """400 audits of a model near the threshold: wrong verdicts and missed intervals stay below 5%, with room for chance."""
    rng = np.random.default_rng(int(threshold * 1000))
    p = np.concatenate([np.zeros(30), rng.uniform(0, 0.02, 20)])
    truth = leak_from_probability(p, 32).mean()
    wrong = missed = 0
    for _ in range(400):
        found = sequential_audit(drawing(rng, p), 32, sizes=SIZES[:3], threshold=threshold)
        wrong += (found.verdict == "above" and truth < threshold) or (found.verdict == "below" and truth > threshold)
        missed += not found.low <= truth <= found.high
    limit = 400 * 0.05 + 3 * np.sqrt(400 * 0.05 * 0.95)
    assert wrong <= limit
    assert missed <= limit


def test_each_look_spends_its_share():
    found = sequential_audit(drawing(np.random.default_rng(0), np.zeros(10)), 1, sizes=[10, 20], threshold=1e-9)
    # Nothing leaked: the two-sided 97.5% bound of the second look is 1 - .0125^(1/200).
    assert found.high == pytest.approx(1 - 0.0125 ** (1 / 200))
    assert found.verdict == "undecided"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": [8, 16], "threshold": 0.1}, "at least k=16"),
        ({"sizes": [32, 32], "threshold": 0.1}, "increase"),
        ({"sizes": [32]}, "threshold or a half_width"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(InputError, match=message):
        sequential_audit(drawing(np.random.default_rng(0), np.zeros(2)), 16, **options)
