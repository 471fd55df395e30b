"""Sophia: against the recursion in numpy, and its curvature against the exact one on average."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.sophia import Sophia, drawn_labels, gauss_newton

SETTINGS = TrainSettings(learning_rate=0.1, max_steps=1, betas=(0.9, 0.8), weight_decay=0.05)


class Scripted:
    """A closure whose gradients and curvatures are given."""

    def __init__(self, parameter, **params):
        self.parameters, self.number = [parameter], 0
        self.params = {"gamma": 0.5, "curvature_every": 2, "forget_weight": 2.0, "retain_weight": 0.0, **params}
        self.asked = []

    def gradient(self, side="", loss=None, on=""):
        self.asked.append((side, on))
        rng = np.random.default_rng([self.number, bool(side)])
        return [torch.tensor(rng.normal(size=4), dtype=torch.float32)]


def test_steps_are_the_recursion():
    parameter = torch.nn.Parameter(torch.arange(4.0))
    optimiser, closure = Sophia([parameter], SETTINGS), Scripted(parameter)
    theta, m, h = np.arange(4.0), np.zeros(4), np.zeros(4)
    clipped = 0
    for number in range(6):
        closure.number = number
        optimiser.step(closure)
        g = np.random.default_rng([number, False]).normal(size=4)
        m = 0.9 * m + 0.1 * g
        if number % 2 == 0:
            drawn = np.random.default_rng([number, True]).normal(size=4) / 2.0  # the side's weight is taken out
            h = 0.8 * h + 0.2 * drawn**2
        step = m / np.maximum(0.5 * h, 1e-12)
        clipped += int((np.abs(step) > 1).sum())
        theta = theta * (1 - 0.1 * 0.05) - 0.1 * np.clip(step, -1, 1)
        assert parameter.detach().numpy() == pytest.approx(theta, rel=1e-4, abs=1e-5)
    assert 0 < clipped < 24  # both kinds of step were seen
    assert [side for side, _ in closure.asked].count("forget") == 3
    assert "retain" not in {side for side, _ in closure.asked}  # of weight 0


def test_the_curvature_is_that_of_a_softmax_on_average():
    """Where the logits of one token are the parameters, the mean of N g^2 is p (1 - p): the curvature of its nll."""
    logits = torch.nn.Parameter(torch.tensor([[0.5, -1.0, 0.2]]))
    total = torch.zeros(1, 3)
    runs = 4000
    for seed in range(runs):
        step = SimpleNamespace(seed=seed, number=0)
        view = SimpleNamespace(step=step, mask=torch.ones(1, 1, dtype=torch.bool), logits=logits[None])
        (g,) = torch.autograd.grad(drawn_labels(view, {}), logits)
        total += g**2 / runs
    p = logits.detach().softmax(-1)
    assert total.numpy() == pytest.approx((p * (1 - p)).numpy(), abs=4 * 0.25 / runs**0.5)


def test_the_weight_of_a_side_is_not_in_its_curvature():
    parameter = torch.nn.Parameter(torch.zeros(4))
    closure = Scripted(parameter, forget_weight=4.0)
    drawn = np.random.default_rng([0, True]).normal(size=4)
    assert gauss_newton(closure)[0].numpy() == pytest.approx((drawn / 4) ** 2, rel=1e-5)


@pytest.mark.parametrize("wrong", [{"gamma": 0.0}, {"curvature_every": 0}])
def test_numbers_that_are_none(wrong):
    parameter = torch.nn.Parameter(torch.zeros(4))
    with pytest.raises(InputError, match="curvature_every must be at least 1 and gamma above 0"):
        Sophia([parameter], SETTINGS).step(Scripted(parameter, **wrong))
