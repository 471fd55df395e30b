"""Hidden-state losses, on states (B, L, d): a mask (B, L) says which positions count."""

from __future__ import annotations

import torch
from torch import Tensor

from leakatk.unlearning.losses.token import Mean, mean_over_answers


def random_direction(size: int, seed: int) -> Tensor:
    """(d,) RMU's fixed control vector: uniform in [0, 1)^d, normalised."""
    vector: Tensor = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(vector, dim=0)


def masked_mse(states: Tensor, target: Tensor, mask: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """Mean squared difference over the masked positions of each sequence, then over sequences.

    target: (B, L, d) or anything that broadcasts to it.
    """
    return mean((states.float() - target.float()).pow(2).mean(-1), mask)
