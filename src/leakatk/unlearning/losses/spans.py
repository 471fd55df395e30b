"""Losses on answers of two parts, one to forget and one to keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from leakatk.unlearning.losses import distill, token
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.view import View, each_answer


def first_half(view: View, half: View) -> Tensor:
    """(B, T) bool: the tokens that an answer shares with its first half from the start. half: the same prompts, answered by that alone."""
    width = min(view.labels.shape[1], half.labels.shape[1])
    same = (view.labels[:, :width] == half.labels[:, :width]) & view.mask[:, :width]
    head = same.long().cumprod(1).bool()
    return torch.nn.functional.pad(head, (0, view.labels.shape[1] - width))


def half_flat(forget_first: bool) -> Callable[[View, View, Params], Tensor]:
    """MP-ME (SEPS): <KL(p || uniform)> on the tokens of the forget half of an answer, KL(p || p_ref) on the others."""

    @each_answer
    def loss(view: View, half: View, p: Params) -> Tensor:
        gone = first_half(view, half)
        gone = gone if forget_first else view.mask & ~gone

        def values(logits: Tensor, flags: Tensor, reference: Tensor) -> Tensor:
            flat = math.log(logits.shape[-1]) - token.entropies(logits, flags)
            return torch.where(flags == 1, flat, distill.kls_to(logits, flags, reference))

        return view.mean(view.of_tokens(values, view.reference, labels=gone.long()))

    return loss
