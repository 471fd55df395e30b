"""Sophia (arXiv 2305.14342), a second-order optimiser: a step is the momentum over a diagonal estimate of the curvature, clipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.closure import Closure
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import SIDES
from leakatk.unlearning.view import View


class Sophia(torch.optim.Optimizer):
    """theta - lr clip(m / max(gamma h, 1e-12), 1): m the mean of gradients; h that of squared gradients on labels that the model drew itself.

    The method's numbers: `gamma`; `curvature_every`, the steps between two estimates of h. InputError for one that is not positive.
    Decays of m and h are the settings' betas.
    """

    asks = True

    def __init__(self, parameters: Iterable[nn.Parameter], settings: TrainSettings) -> None:
        defaults = {"lr": settings.learning_rate, "betas": settings.betas, "weight_decay": settings.weight_decay}
        super().__init__(list(parameters), defaults)

    def step(self, closure: Closure) -> None:  # type: ignore[override]
        every, gamma = closure.params["curvature_every"], closure.params["gamma"]
        if every < 1 or gamma <= 0:
            raise InputError(f"curvature_every must be at least 1 and gamma above 0, got {every!r} and {gamma!r}.")
        gradient = closure.gradient()
        bent = gauss_newton(closure) if closure.number % every == 0 else None
        group = self.param_groups[0]
        (first, second), rate = group["betas"], group["lr"]
        with torch.no_grad():
            for i, parameter in enumerate(closure.parameters):
                state = self.state[parameter]
                if not state:
                    state.update(m=torch.zeros_like(parameter), h=torch.zeros_like(parameter))
                state["m"].lerp_(gradient[i], 1 - first)
                if bent is not None:
                    state["h"].lerp_(bent[i], 1 - second)
                parameter.mul_(1 - rate * group["weight_decay"])
                step = (state["m"] / (gamma * state["h"]).clamp_min(1e-12)).clamp(-1, 1)
                parameter.add_(step, alpha=-rate)


def gauss_newton(closure: Closure) -> list[Tensor]:
    """The diagonal of the curvature by Gauss, Newton and Bartlett: N g^2, g the gradient of the mean nll of N tokens whose labels the
    model drew; summed over both sides.
    """
    found = [torch.zeros_like(one) for one in closure.parameters]
    for side in SIDES:
        weight = closure.params[f"{side}_weight"]
        if not weight:
            continue
        squares = closure.gradient(side, drawn_labels, side)
        found = [total + (one / weight) ** 2 for total, one in zip(found, squares, strict=True)]
    return found


def drawn_labels(view: View, params: Mapping[str, Any]) -> Tensor:
    """The root of N times the mean nll of N labels, drawn from the model's own predictions on the answers; a function of the step's number."""
    step, mask = view.step, view.mask
    chosen = view.logits[mask].float()
    generator = generator_of(step.seed, step.number)
    drawn = torch.multinomial(chosen.detach().softmax(-1).cpu(), 1, generator=generator).flatten().to(chosen.device)
    scaled: Tensor = torch.nn.functional.cross_entropy(chosen, drawn) * len(drawn) ** 0.5
    return scaled
