"""Optimisers that settings and stages name: which AdamW is taken, and that both take the same step."""

import pytest
import torch
from torch import nn

from leakatk.unlearning import optimisers
from leakatk.unlearning.optimisers import SignDescent, named_optimiser
from leakatk.unlearning.settings import TrainSettings

SETTINGS = TrainSettings(learning_rate=1e-2, max_steps=1, weight_decay=0.1)


def after(steps):
    """A weight after so many steps on fixed gradients, and whether AdamW made them in one pass."""
    torch.manual_seed(0)
    weight = nn.Parameter(torch.randn(30, 4))
    optimiser = named_optimiser([weight], SETTINGS)
    for _ in range(steps):
        weight.grad = torch.randn(30, 4)
        optimiser.step()
    return weight.detach(), bool(optimiser.defaults["fused"])


def test_large_models_on_a_cpu_take_the_same_steps_in_one_pass(monkeypatch):
    small, fused = after(3)
    assert not fused, "small models keep their digits"
    monkeypatch.setattr(optimisers, "SMALLEST", 120)
    large, fused = after(3)
    assert fused
    torch.testing.assert_close(large, small, atol=1e-6, rtol=1e-5)
    assert not torch.equal(large, after(2)[0])


def test_sign_descent_goes_one_rate_along_each_entry():
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    weight.grad = torch.tensor([3.0, -0.1])
    SignDescent([weight], lr=0.5).step()
    assert weight.tolist() == pytest.approx([0.5, -1.5])
