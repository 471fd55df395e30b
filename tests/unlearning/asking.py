"""A step's closure over two functions whose derivatives are known."""

import torch
from torch import nn

from leakatk.unlearning.closure import Closure


def quartic(parts, shift):
    """A function with a third derivative, so that its Hessian changes from place to place."""
    whole = torch.cat([p.flatten() for p in parts]) - shift
    return (whole**4).sum() / 12 + (whole * whole.roll(1)).sum() ** 2 / 10


SIDES = {"forget": lambda parts: -quartic(parts, 0.3), "retain": lambda parts: quartic(parts, -0.5)}


class Problem:
    """Two losses of two parameters, and the closure of a step on them."""

    def __init__(self, params, number=0):
        torch.manual_seed(3)
        self.parts = [nn.Parameter(torch.randn(3, 2, dtype=torch.float64)), nn.Parameter(torch.randn(4).double())]
        self.asked = []
        self.closure = Closure(self.parts, params, number, 5, self.fill, self.value, {})

    def loss(self, side):
        chosen = [side] if side else list(SIDES)
        return sum(SIDES[one](self.parts) for one in chosen)

    def fill(self, side, loss):
        self.asked.append((side, loss))
        value = -self.loss(side) if loss is not None else self.loss(side)  # NLL is what ascent lowers
        value.backward()
        return {side or "retain": float(value.detach())}

    def value(self, side):
        return float(self.loss(side).detach())

    def flat(self, values):
        return torch.cat([value.detach().flatten() for value in values])

    @property
    def place(self):
        return self.flat(self.parts)
