"""Codebook: states as sums of few codes out of many, those most like them by cosine (CodeUnlearn, arXiv 2410.10866).

    S(x) = the `top` codes with the largest cos(x, c),    x^ = the sum of them

Trained by Adam on |x - x^|^2 over the variance of x; no coefficient stands before a code.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from leakatk.errors import InputError


class Codebook(nn.Module):
    """codes: (m, d).  top: how many of them a state is the sum of."""

    def __init__(self, codes: Tensor, top: int) -> None:
        """InputError for a `top` below 1 or above the number of codes."""
        super().__init__()
        if not 1 <= top <= len(codes):
            raise InputError(f"top = {top} of {len(codes)} codes; top is at least 1 and at most their number.")
        self.top, self.codes = top, nn.Parameter(codes.detach().float().clone())

    def chosen(self, states: Tensor) -> Tensor:
        """(..., top) the numbers of the codes most like the states (..., d), by cosine; ties go to the lower number."""
        near = normalize(states, dim=-1) @ normalize(self.codes, dim=-1).T
        found: Tensor = near.sort(dim=-1, descending=True, stable=True).indices[..., : self.top]
        return found

    def forward(self, states: Tensor) -> Tensor:
        """(..., d) the states as sums of their codes."""
        found: Tensor = self.codes[self.chosen(states.detach())].sum(-2)
        return found


def fit_codebook(
    states: Tensor, *, codes: int, top: int, steps: int, batch: int = 256, learning_rate: float = 1e-3, seed: int = 0
) -> Codebook:
    """A codebook trained on states (N, d), begun at drawn states, each divided by `top`.

    codes: their number.  batch: states of a step, drawn with replacement.  The same states and numbers give the same codes on the
    same machine. InputError for fewer than two states, states that are not numbers, or numbers below 1.
    """
    if states.dim() != 2 or len(states) < 2:
        raise InputError(f"A codebook needs at least two states (N, d), got the shape {tuple(states.shape)}.")
    if min(codes, steps, batch) < 1 or not learning_rate > 0:
        raise InputError("A codebook's codes, steps and batch are at least 1, its learning rate above 0.")
    states = states.detach().float()
    if not bool(states.isfinite().all()):
        raise InputError("A codebook cannot learn states that are infinite or no number.")
    draw = torch.Generator().manual_seed(seed)
    begun = torch.randint(len(states), (codes,), generator=draw).to(states.device)
    noise = torch.randn(codes, states.shape[1], generator=draw).to(states.device) * states.std() * 0.1
    made = Codebook((states[begun] + noise) / top, top).to(states.device)
    scale = (states - states.mean(0)).square().sum(1).mean().clamp(min=torch.finfo(torch.float32).tiny)
    optimiser = torch.optim.Adam(made.parameters(), lr=learning_rate)
    with torch.enable_grad():
        for _ in range(steps):
            some = states[torch.randint(len(states), (batch,), generator=draw).to(states.device)]
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward((some - made(some)).square().sum(1).mean() / scale)
            optimiser.step()
    return made.requires_grad_(False).eval()
