"""Optimisers: those that the settings name, and others that a Train stage can ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from leakatk.errors import InputError
from leakatk.unlearning.precision import SMALLEST
from leakatk.unlearning.settings import TrainSettings


def named_optimiser(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """What `settings.optimizer` names. InputError when its library is missing."""
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "betas": settings.betas,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == "adamw8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError:
            raise InputError("optimizer adamw8bit needs bitsandbytes (pip install bitsandbytes).") from None
        eight: torch.optim.Optimizer = AdamW8bit(list(parameters), **options)
        return eight
    mine = list(parameters)
    # One pass over weights, gradients and moments in place of ten; small models keep their digits.
    plain = all(p.device.type == "cpu" and not isinstance(p, DTensor) for p in mine)
    large = sum(parameter.numel() for parameter in mine) >= SMALLEST
    return torch.optim.AdamW(mine, **options, fused=(plain and large) or None)


def sgd(momentum: float = 0.0) -> Callable[[Iterable[nn.Parameter], TrainSettings], torch.optim.Optimizer]:
    """Gradient descent, with momentum if asked; the settings' learning rate and weight decay (here coupled)."""

    def make(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
        return torch.optim.SGD(
            parameters, lr=settings.learning_rate, momentum=momentum, weight_decay=settings.weight_decay
        )

    return make


class SignDescent(torch.optim.Optimizer):
    """theta - lr sign(g): the crudest first-order step, whose size does not depend on the gradient's."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, weight_decay: float = 0.0) -> None:
        super().__init__(list(parameters), {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(parameter.grad.sign(), alpha=-group["lr"])


def sign_descent(parameters: Iterable[nn.Parameter], settings: TrainSettings) -> torch.optim.Optimizer:
    """`SignDescent` with the settings' learning rate and weight decay."""
    return SignDescent(parameters, settings.learning_rate, settings.weight_decay)
