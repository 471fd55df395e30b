"""Optimisers that ask: on functions whose derivatives are known, and what they may not do to the weights."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.surgeons import (
    AutoRate,
    Mudman,
    Ofmu,
    Uno,
    ZerothOrder,
    along,
    asking,
    cosine,
    parabola,
    towards_cosine,
)
from tests.unlearning.asking import SIDES, Problem

SETTINGS = TrainSettings(learning_rate=1e-2, max_steps=1, weight_decay=0.0)
UNO = {"penalty": 0.7, "surgery": False, "difference": 1e-3}


def hessian(problem, side):
    shapes = [p.shape for p in problem.parts]

    def function(x):
        first, second = x[: shapes[0].numel()].reshape(shapes[0]), x[shapes[0].numel() :].reshape(shapes[1])
        return SIDES[side]([first, second])

    return torch.autograd.functional.hessian(function, problem.place)


@pytest.mark.parametrize("side", SIDES)
def test_the_second_derivative_times_a_vector(side):
    one = Problem(UNO)
    vector = [torch.randn_like(p) for p in one.parts]
    found = one.flat(along(one.closure, lambda: one.closure.gradient(side), vector, 1e-3))
    expected = hessian(one, side) @ one.flat(vector)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_derivative_of_a_cosine():
    left, right = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    torch.nn.functional.cosine_similarity(left, right, dim=0).backward()
    torch.testing.assert_close(towards_cosine([left.detach()], [right])[0], left.grad)
    assert cosine([left.detach()], [right]) == pytest.approx(
        float(torch.nn.functional.cosine_similarity(left.detach(), right, dim=0))
    )


def test_uno_descends_its_own_objective():
    one = Problem(UNO)
    (optimiser,) = [asking(Uno)(one.parts, SETTINGS)]
    found = one.flat(optimiser.direction(one.closure))

    def objective(x):
        shapes = [p.shape for p in one.parts]
        parts = [x[: shapes[0].numel()].reshape(shapes[0]), x[shapes[0].numel() :].reshape(shapes[1])]
        kept, gone = (
            torch.cat([g.flatten() for g in torch.autograd.grad(SIDES[side](parts), parts, create_graph=True)])
            for side in ("retain", "forget")
        )
        angle = (kept * gone).sum() / (kept.norm() * gone.norm())
        return SIDES["retain"](parts) + UNO["penalty"] * angle**2

    x = one.place.clone().requires_grad_(True)
    objective(x).backward()
    torch.testing.assert_close(found, x.grad, rtol=1e-4, atol=1e-5)
    plain = Problem({**UNO, "penalty": 0.0})
    assert not torch.allclose(found, plain.flat(plain.closure.gradient("retain")), rtol=1e-3)


def test_every_other_step_of_uno_s_does_not_touch_the_retain_gradient():
    one = Problem({**UNO, "surgery": True}, number=1)
    found = asking(Uno)(one.parts, SETTINGS).direction(one.closure)
    kept, gone = one.closure.gradient("retain"), one.closure.gradient("forget")
    assert cosine(found, kept) == pytest.approx(0, abs=1e-6)
    assert cosine(found, gone) > 0.1
    even = Problem({**UNO, "surgery": True}, number=2)
    plain = Problem(UNO)
    for mine, other in zip(
        asking(Uno)(even.parts, SETTINGS).direction(even.closure),
        asking(Uno)(plain.parts, SETTINGS).direction(plain.closure),
        strict=True,
    ):
        torch.testing.assert_close(mine, other)


OFMU = {"inner_steps": 2, "inner_rate": 0.01, "similarity": 0.4, "penalty": 0.05, "growth": 1.5, "difference": 1e-3}


def test_ofmu_rises_within_and_descends_its_own_objective():
    one = Problem(OFMU, number=3)
    shapes = [p.shape for p in one.parts]
    before = one.place.clone()

    def gradient(x, side):
        parts = [x[: shapes[0].numel()].reshape(shapes[0]), x[shapes[0].numel() :].reshape(shapes[1])]
        found = torch.autograd.grad(SIDES[side](parts), parts, create_graph=True)
        return torch.cat([g.flatten() for g in found])

    def phi_slope(x):
        gone, kept = -gradient(x, "forget"), gradient(x, "retain")
        angle = (kept * gone).sum() / (kept.norm() * gone.norm())
        parts = [x[: shapes[0].numel()].reshape(shapes[0]), x[shapes[0].numel() :].reshape(shapes[1])]
        phi = -SIDES["forget"](parts) - OFMU["similarity"] * angle
        return torch.autograd.grad(phi, x, create_graph=True)[0]

    x = before.clone().requires_grad_(True)
    for _ in range(2):
        x = (x + 0.01 * phi_slope(x)).detach().requires_grad_(True)
    found = one.flat(asking(Ofmu)(one.parts, SETTINGS).direction(one.closure))
    torch.testing.assert_close(one.place, x.detach(), rtol=1e-4, atol=1e-5)  # the inner steps stay
    slope = phi_slope(x)
    curve = torch.autograd.grad((slope**2).sum(), x)[0]
    expected = gradient(x, "retain").detach() + 0.05 * 1.5**3 * curve
    torch.testing.assert_close(found, expected, rtol=5e-3, atol=5e-3)


MUDMAN = {"momentum": 0.9, "retain_rate": 0.01, "adversary_rate": 0.02, "fork_every": 3}


def test_mudman_step_by_step():
    """Against the same recursion on flat numpy vectors."""
    one = Problem(MUDMAN)
    optimiser = Mudman(one.parts, lr=0.05)

    def gradients(x, side):
        fresh = Problem({})
        size = fresh.parts[0].numel()
        with torch.no_grad():
            fresh.parts[0].copy_(torch.tensor(x[:size]).reshape(3, 2))
            fresh.parts[1].copy_(torch.tensor(x[size:]))
        return fresh.flat(fresh.closure.gradient(side)).numpy()

    theta = one.place.numpy().copy()
    mean, phi = np.zeros_like(theta), None
    for number in range(5):
        one.closure.number = number
        optimiser.step(one.closure)
        if number % 3 == 0:
            phi = theta.copy()
        mean = 0.9 * mean + 0.1 * gradients(theta, "retain")
        theta = theta - 0.01 * mean
        gone = gradients(phi, "forget")
        phi = phi + 0.02 * gone  # the gradient of the NLL is that of ascent with the other sign
        theta = theta - 0.05 / np.linalg.norm(gone) * np.where(np.sign(gone) == np.sign(mean), gone, 0)
        np.testing.assert_allclose(one.place.numpy(), theta, rtol=1e-6)


@pytest.mark.parametrize("losses", [(5.0, 3.0, 9.0), (1.0, 0.9, 1.3), (0.2, 0.1, 0.5)], ids=["far", "near", "small"])
def test_the_least_point_of_a_parabola(losses):
    here, ahead, behind = losses
    a, b, _ = np.polyfit([0.0, 1.0, -1.0], [here, ahead, behind], 2)
    assert parabola(here, ahead, behind) == pytest.approx(-b / (2 * a))


@pytest.mark.parametrize("losses", [(1.0, 2.0, 0.5), (3.0, 1.0, 1.0), (1.0, 1.0, 1.0)])
def test_without_a_least_point_ahead_the_rate_stays(losses):
    assert parabola(*losses) is None


def bowl(parts):
    return sum(((p - 1) ** 2).sum() for p in parts)


def test_the_automatic_rate_ends_where_the_retain_loss_is_least(monkeypatch):
    monkeypatch.setitem(SIDES, "retain", bowl)
    monkeypatch.setitem(SIDES, "forget", lambda parts: 0 * bowl(parts))
    one = Problem({"rate_every": 2})
    before = one.place.clone()
    optimiser = asking(AutoRate)(one.parts, SETTINGS)
    optimiser.step(one.closure)
    way = before - one.place
    fine = [float(bowl([before - size * way / way.norm()])) for size in np.linspace(0, 6, 6001)]
    assert float(way.norm()) == pytest.approx(6 * int(np.argmin(fine)) / 6000, abs=2e-3)
    factor = float(optimiser.state[one.parts[0]]["factor"])
    assert factor > 1
    assert optimiser.param_groups[0]["lr"] == SETTINGS.learning_rate  # the schedule's, which the factor multiplies
    one.closure.number, middle = 1, one.place.clone()
    optimiser.step(one.closure)
    assert float((one.place - middle).abs().max()) == pytest.approx(factor * 1e-2, rel=0.3)  # AdamW's step, times it


def test_the_rate_is_left_alone_where_it_is_not_asked_for():
    one, other = Problem({"rate_every": 0}), Problem({})
    asking(AutoRate)(one.parts, SETTINGS).step(one.closure)
    plain = torch.optim.AdamW(other.parts, lr=1e-2, betas=SETTINGS.betas, weight_decay=0.0)
    other.loss("").backward()
    plain.step()
    torch.testing.assert_close(one.place, other.place, rtol=0, atol=0)


ZEROTH = {"queries": 4000, "reach": 1e-4, "hybrid": 0}


def test_differences_of_losses_are_the_gradient_on_average():
    one = Problem(ZEROTH)
    found = one.flat(asking(ZerothOrder)(one.parts, SETTINGS).direction(one.closure))
    exact = one.flat(one.closure.gradient())
    assert float((found - exact).norm() / exact.norm()) < 0.15  # of 10 entries, 4000 directions: about .05
    assert one.asked == [("", None)]  # the last line's own


def test_the_hybrid_takes_turns():
    for number, by_gradient in [(0, True), (1, True), (2, False), (3, False), (4, True)]:
        one = Problem({"queries": 1, "reach": 1e-3, "hybrid": 2}, number=number)
        asking(ZerothOrder)(one.parts, SETTINGS).direction(one.closure)
        assert bool(one.asked) == by_gradient


@pytest.mark.parametrize("wrong", [{"queries": 0}, {"reach": 0.0}, {"reach": math.nan}])
def test_zeroth_order_numbers_that_make_no_sense(wrong):
    one = Problem({**ZEROTH, **wrong})
    with pytest.raises(InputError, match="queries must be at least 1 and reach above 0"):
        asking(ZerothOrder)(one.parts, SETTINGS).direction(one.closure)
