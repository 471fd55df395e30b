"""Adapters: LoRA around a model, and what a Train stage's `adapter` does to one before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.selection import views
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.work import Work

TINY = 1e-5  # the authors', under both divisions


def adapted(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers that have a LoRA adapter, by name."""
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


def importance(work: Work, stream: str, layers: Mapping[str, nn.Module], *, batch_size: int = 16) -> dict[str, Tensor]:
    """Fisher information of each layer's weights, as its authors estimate it: the squares of a batch's gradient of the mean nll of
    its tokens, weighed by these.
    """
    weights = {name: cast(Tensor, cast(Any, layer).base_layer.weight) for name, layer in layers.items()}
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in weights.items()}
    flags = {name: value.requires_grad for name, value in weights.items()}
    count = 0
    for value in weights.values():
        value.requires_grad_(True)
    with torch.enable_grad():
        for view in views(work, stream, batch_size=batch_size):
            tokens = int(view.mask.sum())
            found = torch.autograd.grad(-view.token_logprob.sum() / tokens, list(weights.values()))
            for name, gradient in zip(weights, found, strict=True):
                total[name] += tokens * gradient.float() ** 2
            count += tokens
    for name, value in weights.items():
        value.requires_grad_(flags[name])
    return {name: value / count for name, value in total.items()}


def fisher_adapter(work: Work, model: nn.Module) -> None:
    """FILA (LoKU, ICLR 2025): the adapter begins as the low-rank part of the weights that matters for forgetting, and the layer as the rest.

    With F the forget set's information divided by the retain set's, d the root of its row sums, and U S V' the first singular vectors
    of diag(d) W: B A = diag(1/d) U S V', W <- W - B A. The model is the same before the first step.
    """
    layers = adapted(model)
    if not layers:
        raise InputError("The Fisher-weighted beginning needs an adapter, and no layer has one.")
    gone, kept = importance(work, "forget", layers), importance(work, "retain", layers)
    for name, layer in layers.items():
        _begin(cast(Any, layer), gone[name] / (TINY + kept[name]))


@torch.no_grad()
def _begin(layer: Any, relative: Tensor) -> None:
    turned = not isinstance(layer.base_layer, nn.Linear)  # GPT-2's Conv1D keeps (in, out)
    weight = layer.base_layer.weight.float()
    weight, relative = (weight.T, relative.T) if turned else (weight, relative)
    rows = relative.sum(1).sqrt()
    down, up = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    rank = down.shape[0]
    found = torch.svd_lowrank(rows[:, None] * weight, q=min(2 * rank + 8, *weight.shape), niter=4)
    left, values, right = found[0][:, :rank], found[1][:rank], found[2][:, :rank]
    root = (values / layer.scaling["default"]).sqrt()
    down.copy_((right * root).T)
    up.copy_((left * root) / (rows + TINY)[:, None])
    rest = weight - layer.scaling["default"] * up @ down
    layer.base_layer.weight.copy_(rest.T if turned else rest)


def with_adapter(model: nn.Module, settings: TrainSettings) -> nn.Module:
    """The model with a new LoRA adapter as the settings have it."""
    from peft import LoraConfig, get_peft_model

    targets = settings.lora_targets if isinstance(settings.lora_targets, str) else list(settings.lora_targets)
    config = LoraConfig(
        r=settings.lora_rank, lora_alpha=settings.lora_alpha, target_modules=targets, task_type="CAUSAL_LM"
    )
    wrapped: nn.Module = get_peft_model(model, config)
    return wrapped
