"""Optimal transport between weights: how far a model has moved, as a term beside its losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from leakatk.errors import InputError
from leakatk.unlearning import sharding
from leakatk.unlearning.chance import generator_of
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.view import View

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


def sliced_wasserstein(start: Tensor, now: Tensor, directions: Tensor) -> Tensor:
    """Squared sliced Wasserstein distance, order 2, of two matrices whose rows are points: (n, d), (n, d), directions (d, k) of length 1.

    The mean over directions of the sum over ranks i of (i-th smallest of start @ u - i-th smallest of now @ u)^2.
    """
    before, after = (start @ directions).sort(dim=0).values, (now @ directions).sort(dim=0).values
    return ((before - after) ** 2).sum(0).mean()


def weights_at_start(work: Work) -> dict[str, Any]:
    """ "anchor": a copy of the weights before the first stage. InputError where not the model's own weights are trained as a whole."""
    if work.settings.tuning == "lora" or sharding.asked_for():
        raise InputError(
            "Weights are compared with those at the start: train them whole, without --lora and without shards."
        )
    now = {name: value.detach() for name, value in work.loaded.model.named_parameters()}
    return {"anchor": {name: work.start.get(name, value).clone() for name, value in now.items()}}


def moved(view: View, p: Mapping[str, Any]) -> Tensor:
    """Opt-Out (arXiv 2406.12329): the sum over parameters of `sliced_wasserstein` to the weights at the start.

    `directions` random ones for each, drawn anew in each step; a vector is one point.
    """
    step, total = view.step, torch.zeros((), device=view.labels.device)
    for name, value in step.model.named_parameters():
        if value.requires_grad:
            now = value.float() if value.dim() > 1 else value.float()[None]
            start = p["anchor"][name].to(now).reshape(now.shape)
            drawn = torch.randn(now.shape[-1], p["directions"], generator=generator_of(step.seed, step.number, name))
            total = total + sliced_wasserstein(start, now, normalize(drawn, dim=0).to(now))
    return total


def npo_of_means(view: View, p: Mapping[str, Any]) -> Tensor:
    """NPO on a batch's mean nll: -(2/beta) log sigma(beta [NLL - NLL_ref])"""
    scale: float = 2.0 / p["beta"]
    return -scale * logsigmoid(p["beta"] * (nll(view, p) - nll(view.reference, p)))
