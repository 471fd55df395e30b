"""Losses on some tokens of an answer: those that the question brings, and the others."""

from __future__ import annotations

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.losses import distill
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.view import View, each_answer


def brought(view: View, unasked: View, p: Params) -> Tensor:
    """(B, T) bool: of each answer the share of tokens whose log-probability under the reference the question raises most.

    unasked: the same answers without their questions. InputError where their tokens differ, or for a share outside (0, 1).
    """
    if not 0 < p["share"] < 1:
        raise InputError(f"share must be between 0 and 1, got {p['share']!r}.")
    if not torch.equal(view.labels, unasked.labels):
        raise InputError(
            "Without its question an answer has other tokens under this chat template; dto cannot tell which it brings."
        )
    gain = view.reference.token_logprob - unasked.reference.token_logprob
    gain = gain.masked_fill(~view.mask, float("-inf"))
    count = (p["share"] * view.mask.sum(1)).round().clamp_min(1)
    rank = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    chosen: Tensor = (rank < count[:, None]) & view.mask
    return chosen


@each_answer
def targets_alone(view: View, unasked: View, p: Params) -> Tensor:
    """<log p(y_t)> over the tokens that the question brings."""
    return view.mean(view.token_logprob, brought(view, unasked, p))


@each_answer
def others_kept(view: View, unasked: View, p: Params) -> Tensor:
    """keep_weight <KL(p_ref || p)> over the other tokens."""
    others = view.mask & ~brought(view, unasked, p)
    kept: Tensor = p["keep_weight"] * view.mean(view.of_tokens(distill.kls_from, view.reference), others)
    return kept


@each_answer
def target_tokens(view: View, unasked: View, p: Params) -> Tensor:
    """DTO: `targets_alone` plus `others_kept`."""
    return targets_alone(view, unasked, p) + others_kept(view, unasked, p)
