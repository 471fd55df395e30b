"""Beyond the samples: exact leak, certain bounds and forecasts, against sums written out here."""

import math

import numpy as np
import pytest

from leakatk.auditing.bounds import BOUNDS_KS, bounds_result, exact_bounds, exact_result, expansions, forecast_result
from leakatk.auditing.sample import sample
from leakatk.prompts import Generation
from leakatk.sampling.base import Answer, Expansion
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import PROMPTS, Scripted

TWO = PROMPTS[:2]


def test_exact_leak_is_one_minus_no_hit():
    truths = [((1,), math.log(0.25)), ((2,), -math.inf)]
    found = exact_result(truths, TWO)
    assert found.value == pytest.approx([np.mean([1 - 0.75**k, 0.0]) for k in found.k])
    assert dict(found.logp) == {"p0": math.log(0.25), "p1": None}


class Told(Scripted):
    """Every sample is its prompt's answer with probability 1/2, else something clean."""

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            i = request.prompt.id[1]
            yield [
                Generation(request.prompt.id, j, *((f"In Zorvik{i}.", (7, 0)) if j % 2 else ("No.", (8, 0))), math.log(p), "stop")
                for j, p in zip(request.samples, [0.25, 0.5] * len(request.samples), strict=False)
            ]  # fmt: skip


def test_each_distinct_answer_counts_once(tmp_path):
    run = sample(Told(None), TWO, n=4, out=tmp_path / "run", quiet=True)
    scores = np.array([[0.0, 1, 0, 1]] * 2)
    truths = {"p0": ((7, 0), math.log(0.5)), "p1": ((9, 0), math.log(0.1))}
    trees = {"p0": Expansion("p0", (Answer((5, 0), "Nothing.", math.log(0.125)),), 0.125, 3)}
    first, second = exact_bounds(run, scores, ["p0", "p1"], "fact", truths, trees)
    # p0: 1/2 leaks, 1/4 + 1/8 do not. p1: 1/2 and its own 1/10 leak, 1/4 does not.
    assert (first.low, first.high) == pytest.approx((0.5, 1 - 0.375))
    assert (second.low, second.high) == pytest.approx((0.6, 1 - 0.25))
    block = bounds_result([first, second])
    assert block.unknown == pytest.approx(np.mean([0.125, 0.15]))
    assert block.low == pytest.approx([np.mean([1 - 0.5**k, 1 - 0.4**k]) for k in BOUNDS_KS])
    ahead = forecast_result(scores, [first, second], level=0.95)
    assert ahead.k[0] == 8
    assert all(low <= high for low, high in zip(ahead.low, ahead.high, strict=True))


class Expanding(Scripted):
    def __init__(self):
        super().__init__(None)
        self.asked = []

    def expand(self, prompts, decoding, budget):
        self.asked += [prompt.id for prompt in prompts]
        return [Expansion(prompt.id, (Answer((1, 2), "a", -1.5),), 0.2, budget) for prompt in prompts]


def test_expansions_are_kept_and_asked_once(tmp_path):
    engine = Expanding()
    first = expansions(engine, TWO[:1], Decoding(), 10, out=tmp_path)
    both = expansions(engine, TWO, Decoding(), 10, out=tmp_path)
    assert engine.asked == ["p0", "p1"]
    assert both["p0"] == first["p0"] == Expansion("p0", (Answer((1, 2), "a", -1.5),), 0.2, 10)
