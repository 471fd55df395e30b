"""KLoM: margins, histograms and splits by hand."""

import math
from itertools import combinations

import numpy as np
import pytest

from leakatk.errors import InputError
from leakatk.metrics import klom as k
from leakatk.metrics.base import Evidence, evaluate
from leakatk.unlearning.losses.outputs import margins as loss_margins
from tests.metrics.conftest import learned
from tests.metrics.test_contract import WHOLE


def test_margins_are_log_odds():
    p = np.array([0.5, 0.9, 0.2])
    expected = np.mean([math.log(x / (1 - x)) for x in p])
    assert k.margins([np.log(p)])[0] == pytest.approx(expected)
    assert k.margins([[0.0]])[0] == pytest.approx(math.log((1 - 1e-6) / 1e-6), rel=1e-6)
    import torch

    steps = torch.log(torch.tensor(p))
    assert k.margins([np.log(p)])[0] == pytest.approx(float(loss_margins(steps).mean()), rel=1e-5)
    assert math.isnan(k.margins([[]])[0])


def by_hand(left, right, bins):
    """KL(right || left) with a loop over values and bins."""
    low, high = min(*left, *right), max(*left, *right)
    counts = {side: [1 / bins] * bins for side in ("left", "right")}
    for side, values in (("left", left), ("right", right)):
        for value in values:
            place = min(bins - 1, int((value - low) / (high - low) * bins))
            counts[side][place] += 1
    p = [c / (len(right) + 1) for c in counts["right"]]
    q = [c / (len(left) + 1) for c in counts["left"]]
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


@pytest.mark.parametrize("bins", [2, 7, 20])
def test_histograms_by_hand(bins):
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=5), rng.normal(2, size=7)
    assert k.histogram_kl(left, right, bins) == pytest.approx(by_hand(left, right, bins))
    assert k.histogram_kl(left, right, bins) != pytest.approx(k.histogram_kl(right, left, bins)), (
        "the direction matters"
    )


def test_ends():
    assert k.histogram_kl([1, 1], [1, 1]) == 0
    assert k.histogram_kl([1, 2], [2, 1]) == 0
    with pytest.raises(InputError, match="bins"):
        k.histogram_kl([1], [2], 1)
    with pytest.raises(InputError, match="missing"):
        k.histogram_kl([math.nan], [2])


def test_chance_is_the_mean_over_all_splits():
    rng = np.random.default_rng(1)
    left, right = rng.normal(size=(2, 3)), rng.normal(size=(3, 3))
    models = np.concatenate([left, right])
    each = []
    for group in combinations(range(5), 2):
        rest = [i for i in range(5) if i not in group]
        each += [by_hand(models[list(group), x], models[rest, x], k.BINS) for x in range(3)]
    assert k.klom_alike(left, right) == pytest.approx(np.mean(each))
    assert k.klom(left, right).tolist() == pytest.approx([by_hand(left[:, x], right[:, x], k.BINS) for x in range(3)])


def test_groups_of_one_kind_are_at_chance_and_of_two_kinds_are_not():
    rng = np.random.default_rng(2)
    same = rng.normal(size=(24, 60))

    def gap(left, right):
        return k.klom(left, right).mean() - k.klom_alike(left, right)

    assert gap(same[:12] + 3, same[12:]) > 4 * abs(gap(same[:12], same[12:]))


def test_it_tells_models_that_learned_from_models_that_did_not(tokenizer):
    pairs = [(p.question, p.answer) for p in WHOLE.forget]
    knows, blank = learned(tokenizer, pairs, steps=30), learned(tokenizer)
    beside = {"alike": [Evidence(knows)], "retrained": [Evidence(blank)]}
    found = evaluate(Evidence(knows, retrained=Evidence(blank), beside=beside), WHOLE, metrics=["klom"])
    assert found["klom_forget"] > found["klom_forget_alike"]
    assert (found["klom_unlearned"], found["klom_retrained"]) == (2, 2)
    beside = {"alike": [Evidence(blank)], "retrained": [Evidence(blank)]}
    same = evaluate(Evidence(blank, retrained=Evidence(blank), beside=beside), WHOLE, metrics=["klom"])
    assert same["klom_forget"] == same["klom_forget_alike"] == 0
