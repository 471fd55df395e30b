"""Which parameters are trained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError


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


def choose(
    model: nn.Module, chosen: str | Sequence[str] | Mapping[str, Tensor], *, adapter: bool = False
) -> dict[str, Tensor]:
    """Switch gradients on for what is chosen and off for the rest; the masks of entries, by parameter.

    chosen: a regular expression ("" = all), names, or for each name a mask (bool, True = trained) that broadcasts to the
    parameter: of shape (rows, 1) it chooses rows.  adapter: the model has one, for which a regular expression alone will do.
    UnknownNameError for a parameter that the model lacks, InputError for a mask that does not fit.
    """
    if adapter and not isinstance(chosen, str):
        raise InputError(
            "A method that chooses parameters by name trains the model itself; take full tuning, not lora."
        )
    names = trainable(model, chosen) if isinstance(chosen, str) else list(chosen)
    there = dict(model.named_parameters())
    for name in names:
        if name not in there:
            raise UnknownNameError("parameter of the model", name, there)
    wanted = set(names)
    for name, parameter in there.items():
        parameter.requires_grad_(name in wanted)
    if not isinstance(chosen, Mapping):
        return {}
    masks = {}
    for name, mask in chosen.items():
        try:
            masks[name] = torch.broadcast_to(mask.to(there[name].device, torch.bool), there[name].shape)
        except RuntimeError:
            raise InputError(
                f"The mask of {name} has shape {tuple(mask.shape)}, which does not fit {tuple(there[name].shape)}."
            ) from None
    if not any(bool(mask.any()) for mask in masks.values()):
        raise InputError("The masks choose no entry of any parameter; nothing would be trained.")
    return masks


def mlp_down(layer: int, width: int = 3) -> str:
    """RMU's choice as a pattern: the MLP output projections of layers layer-width+1 .. layer."""
    layers = "|".join(str(i) for i in range(max(layer - width + 1, 0), layer + 1))
    return rf"\.({layers})\.mlp\.(down_proj|c_proj|fc2)\."
