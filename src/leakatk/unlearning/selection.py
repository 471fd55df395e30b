"""Which parameters are trained."""

from __future__ import annotations

import re

from torch import nn

from leakatk.errors import InputError


def trainable(model: nn.Module, pattern: str) -> list[str]:
    """Names of the parameters that match the regular expression ("" = all). InputError when none does."""
    try:
        names = [name for name, _ in model.named_parameters() if re.search(pattern, name)]
    except re.error as error:
        raise InputError(f"parameters={pattern!r} is no valid regular expression ({error}).") from None
    if not names:
        example = next((name for name, _ in model.named_parameters()), "none")
        raise InputError(f"parameters={pattern!r} matches no parameter of the model; a name looks like {example}.")
    return names


def freeze_others(model: nn.Module, pattern: str) -> None:
    """Switch gradients on for the parameters that match and off for the rest."""
    chosen = set(trainable(model, pattern))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)


def mlp_down(layer: int, width: int = 3) -> str:
    """RMU's choice as a pattern: the MLP output projections of layers layer-width+1 .. layer."""
    layers = "|".join(str(i) for i in range(max(layer - width + 1, 0), layer + 1))
    return rf"\.({layers})\.mlp\.(down_proj|c_proj|fc2)\."
