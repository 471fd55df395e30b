"""Weight arithmetic on models of one shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Applied once after the last step: the weights at the start, the trained model (changed in place), the method's numbers.
Finish = Callable[[Mapping[str, Tensor], nn.Module, Mapping[str, Any]], None]


@torch.no_grad()
def task_vector(start: Mapping[str, Tensor], model: nn.Module, params: Mapping[str, Any]) -> None:
    """theta = theta_0 - alpha * (theta_trained - theta_0): walk away from what training on the forget set did."""
    for name, value in model.named_parameters():
        origin = start[name].to(value.device, value.dtype)
        value.copy_(origin - params["alpha"] * (value - origin))
