"""What a step's closure answers, and that it leaves the weights where they were."""

import pytest
import torch

from leakatk.unlearning.surgeons import norm
from tests.unlearning.asking import Problem


def test_a_closure_moves_and_puts_back_exactly():
    one = Problem({})
    before = one.place.clone()
    way = one.closure.gradient("retain")
    assert all(p.grad is None for p in one.parts)
    with one.closure.moved(way, 0.1):
        torch.testing.assert_close(one.place, before + 0.1 * one.flat(way))
    assert torch.equal(one.place, before)
    with pytest.raises(KeyError), one.closure.moved(way, 0.1):
        raise KeyError
    assert torch.equal(one.place, before)
    assert one.closure.losses == {"retain": pytest.approx(one.value("retain"))}


def test_directions_are_of_length_one_and_a_function_of_the_seed():
    one = Problem({})
    first, count = one.closure.unit("a")
    assert norm(first) == pytest.approx(1, rel=1e-5)
    assert count == 10
    assert all(torch.equal(a, b) for a, b in zip(first, one.closure.unit("a")[0], strict=True))
    assert not torch.equal(first[0], one.closure.unit("b")[0][0])
    one.closure.masks = [torch.zeros(3, 2, dtype=torch.bool), None]
    masked, count = one.closure.unit("a")
    assert (count, float(masked[0].abs().max())) == (4, 0.0)
    assert norm(masked) == pytest.approx(1, rel=1e-5)
