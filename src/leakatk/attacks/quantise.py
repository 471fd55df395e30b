"""Quantisation: weights rounded to few bits, as a model is made smaller for use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from leakatk.attacks.base import Alter, at_least, attack, one_of
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known


@attack(
    "quantise",
    summary="the weights rounded to 8 or 4 bits",
    paper="Zhang et al. 2024 (Catastrophic Failure of LLM Unlearning via Quantization), arXiv 2410.16454",
    formula="s = max|w| / (2^(b-1) - 1) over a row or a group of it;  w <- s * round(w / s)",
    source="round to nearest with the largest absolute value as scale, as in the paper's baseline; 4 bits are its harder case",
    rows=("92",),
    lacks="GPTQ and AWQ, which round with the help of data",
    access="weights, or a copy of the model in few bits",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Quantise(Alter):
    """Round to nearest, symmetric. bits: 8 or 4.  group: weights that share a scale within a row; 0 is the whole row.

    A row is all weights of one output. The weights of linear layers are replaced by what their codes stand for.
    Embeddings, norms, biases, the output layer and adapters stay as they are.
    """

    bits: int = 4
    group: int = 0

    def __post_init__(self) -> None:
        one_of(self, "bits", (8, 4))
        at_least(self, "group", 0)

    def apply(self, loaded: LoadedModel, known: Known) -> None:
        if not next(linear_weights(loaded.model), None):
            raise InputError(f"{type(loaded.model).__name__} has no linear layers that {self.label} can round.")
        with torch.no_grad():
            for weight, transposed in linear_weights(loaded.model):
                rows = weight.T if transposed else weight
                rows.copy_(rounded(rows, self.bits, self.group))

    def notes(self, loaded: LoadedModel) -> list[str]:
        found = sum(weight.numel() for weight, _ in linear_weights(loaded.model))
        total = sum(parameter.numel() for parameter in loaded.model.parameters())
        return [f"{found:,} of {total:,} weights are rounded; the others stay as they are."]


def rounded(weight: Tensor, bits: int, group: int = 0) -> Tensor:
    """(rows, columns) weights as their codes give them back; computed in float32. The last group of a row may be shorter."""
    most = 2 ** (bits - 1) - 1
    parts = torch.split(weight.float(), group or weight.shape[1], dim=1)
    found = []
    for part in parts:
        scale = part.abs().amax(dim=1, keepdim=True) / most
        safe = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros stays one
        found.append((part / safe).round().clamp(-most, most) * scale)
    return torch.cat(found, dim=1).to(weight.dtype)


def linear_weights(model: nn.Module) -> Iterator[tuple[Tensor, bool]]:
    """(weight, whether its outputs are columns) of every linear layer but the output layer and adapters."""
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tied = {
        id(parameter) for module in model.modules() if isinstance(module, nn.Embedding) for parameter in [module.weight]
    }
    for name, module in model.named_modules():
        if module is head or "lora_" in name or not isinstance(module, (nn.Linear, Conv1D)):
            continue
        if id(module.weight) not in tied:
            yield module.weight, isinstance(module, Conv1D)
