"""Selection of parameters: which of them, or of their rows, are trained."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import STREAMS
from leakatk.unlearning.teachers import Teachers
from leakatk.unlearning.view import View

if TYPE_CHECKING:
    from leakatk.unlearning.work import Select, Work


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


def gradients(
    work: Work, loss: Callable[[View, Mapping[str, Any]], Tensor] = nll, stream: str = "forget", *, batch_size: int = 16
) -> dict[str, Tensor]:
    """The gradient of a loss at the weights of the moment, over all prompts of a stream; by parameter, on its device.

    loss: a mean over answers, of a view and the method's numbers. One tensor of each parameter's size is held.
    """
    model, count = work.loaded.model, work.streams.size(STREAMS[stream].of)
    nobody = Teachers(work.streams, work.loaded.device, nullcontext)
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    model.requires_grad_(True).eval()
    model.zero_grad()
    for start in range(0, count, batch_size):
        rows = range(start, min(start + batch_size, count))
        step = Step(model, work.streams, {STREAMS[stream].of: rows}, nobody, work.loaded.device, seed=work.seed)
        value = loss(View(step, stream), work.params) * (len(rows) / count)
        torch.autograd.backward(value)
    found = {
        name: torch.zeros_like(value) if value.grad is None else value.grad.detach().clone()
        for name, value in model.named_parameters()
    }
    model.zero_grad()
    for name, value in model.named_parameters():
        value.requires_grad_(flags[name])
    return found


def top_rows(share: float, *, by: str = "forget", among: str = r"\.layers\.|\.h\.|\.blocks\.") -> Select:
    """Train the rows of matrices with the largest gradients, and nothing else.

    share: of all rows of the matrices, those with the largest norm of the gradient of the nll on stream `by`.  among: a
    regular expression for the matrices' names.  InputError when it matches none.
    """
    if not 0 < share <= 1:
        raise InputError(f"The share of rows must be above 0 and at most 1, got {share!r}.")

    def select(work: Work) -> dict[str, Tensor]:
        names = set(trainable(work.loaded.model, among))
        norms = {
            name: value.float().norm(dim=1)
            for name, value in gradients(work, stream=by).items()
            if name in names and value.dim() == 2
        }
        if not norms:
            raise InputError(f"top_rows: {among!r} matches no matrix of the model.")
        values = torch.cat([norm.cpu() for norm in norms.values()])
        least = values.sort(descending=True).values[max(1, round(share * len(values))) - 1]
        masks = {name: (norm >= least.to(norm.device))[:, None] for name, norm in norms.items()}
        return {name: mask for name, mask in masks.items() if bool(mask.any())}

    return select
