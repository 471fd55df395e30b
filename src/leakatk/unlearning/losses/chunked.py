"""Functions of whole next-token distributions, a few tokens at a time: what they need in between is never held for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK = 1 << 22  # logits that are worked on at once

# (logits (n, V), labels (n,), others (n, V) ...) -> (n,), each entry of its own row alone
OfTokens = Callable[..., Tensor]


def in_chunks(function: OfTokens, logits: Tensor, labels: Tensor, *others: Tensor) -> Tensor:
    """(N,) float32 `function(logits, labels, *others)`, with a gradient towards the logits alone.

    function: of (n, V), (n,) and (n, V) each, whose entry for a token depends on that token's row alone. It is called twice
        for each chunk, again in the backward pass, where its own gradient is taken.
    logits: (N, V).
    labels: (N,) whole numbers, such as -100 where there is none.
    others: (N, V) each, such as a reference's logits.
    """
    found: Tensor = _InChunks.apply(function, logits, labels, *others)  # type: ignore[no-untyped-call]
    return found


def _parts(logits: Tensor) -> list[slice]:
    rows = max(1, CHUNK // max(1, logits.shape[-1]))
    return [slice(begin, begin + rows) for begin in range(0, logits.shape[0], rows)]


class _InChunks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, function: OfTokens, logits: Tensor, labels: Tensor, *others: Tensor) -> Tensor:
        ctx.function = function
        ctx.save_for_backward(logits, labels, *others)
        parts = [function(logits[p], labels[p], *(other[p] for other in others)).float() for p in _parts(logits)]
        return torch.cat(parts) if parts else logits.new_zeros(0, dtype=torch.float32)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        logits, labels, *others = ctx.saved_tensors
        found = torch.empty_like(logits)
        for p in _parts(logits):
            with torch.enable_grad():
                chunk = logits[p].detach().requires_grad_(True)
                values = ctx.function(chunk, labels[p], *(other[p] for other in others)).float()
            found[p] = torch.autograd.grad(values, chunk, gradient[p])[0] if values.requires_grad else 0
        return None, found, None, *(None for _ in others)
