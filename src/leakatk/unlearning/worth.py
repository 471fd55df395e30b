"""Worth of unlearning each forget prompt: what it gives an outer objective, as weights of the forget loss (U2A)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from leakatk.errors import InputError
from leakatk.models.weights import put
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.selection import gradients, views
from leakatk.unlearning.view import View, each_answer

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

Vector = dict[str, Tensor]


def outer_slope(work: Work) -> Vector:
    """The gradient of J = -NLL(retain) + outer_leak NLL(forget), which is to be as large as can be."""
    kept = gradients(work, stream="retain")
    if not work.params["outer_leak"]:
        return {name: -value for name, value in kept.items()}
    gone = gradients(work)
    return {name: work.params["outer_leak"] * gone[name] - value for name, value in kept.items()}


def weighted_slope(work: Work, weights: Tensor) -> Vector:
    """The gradient of sum_i w_i <log p(y_i)>, the forget loss that unlearning lowers; weights (n,)."""

    def loss(view: View, params: Params) -> Tensor:
        return (weights[list(view.rows)].to(view.mean_logprob) * view.mean_logprob).sum() * (
            len(weights) / len(view.rows)
        )

    return gradients(work, loss)


def agreement(work: Work, along: Vector) -> Tensor:
    """(n,) of each forget prompt -<along, grad <log p(y_i)>>: what J gains where its loss is lowered. A backward pass for each."""
    model, found = work.loaded.model, []
    mine = [(along[name], value) for name, value in model.named_parameters()]
    flags = [value.requires_grad for _, value in mine]
    model.requires_grad_(True).eval()
    with torch.enable_grad():
        for view in views(work, "forget", batch_size=1):
            slopes = torch.autograd.grad(view.mean_logprob.sum(), [value for _, value in mine], allow_unused=True)
            pairs = zip(mine, slopes, strict=True)
            found.append(
                -sum(float((way * slope).sum(dtype=torch.float64)) for (way, _), slope in pairs if slope is not None)
            )
    for (_, value), flag in zip(mine, flags, strict=True):
        value.requires_grad_(flag)
    return torch.tensor(found, dtype=torch.float64)


def worth(work: Work) -> dict[str, Tensor]:
    """ "share" (n,): weights of the forget prompts, of mean 1, by mirror ascent on the simplex.

    `outer_rounds` times: theta(w) is the model `reach` of its weights' length along -sum_i w_i grad L_i, L_i = <log p(y_i)>; s_i =
    -<grad J(theta(w)), grad L_i(theta)> divided by the largest |s|; w_i <- w_i exp(mirror_rate s_i) / Z. Then the `keep` share of largest weights stays.
    InputError for keep outside (0, 1].
    """
    params, count = work.params, len(work.forget)
    if not 0 < params["keep"] <= 1:
        raise InputError(f"keep must be above 0 and at most 1, got {params['keep']!r}.")
    weights = torch.full((count,), 1 / count, dtype=torch.float64)
    model = work.loaded.model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    length = _norm(before)
    for _ in range(params["outer_rounds"]):
        down = weighted_slope(work, weights)
        size = max(_norm(down), 1e-20)
        try:
            put(
                model,
                {name: value - params["reach"] * length / size * down[name] for name, value in before.items()},
                partly=True,
            )
            slope = outer_slope(work)
        finally:
            put(model, before, partly=True)
        gain = agreement(work, slope)
        weights = weights * torch.exp(params["mirror_rate"] * gain / gain.abs().max().clamp_min(1e-20))
        weights = weights / weights.sum()
    kept = weights.argsort(descending=True, stable=True)[: max(1, math.ceil(params["keep"] * count))]
    share = torch.zeros_like(weights)
    share[kept] = weights[kept] / weights[kept].sum() * count
    work.notes.append(
        f"u2a weighs {len(kept)} of {count} forget prompts between {share[kept].min():.2f} and {share.max():.2f}; their mean is {count / len(kept):.2f}."
    )
    return {"share": share.float()}


def _norm(vector: Vector) -> float:
    return math.sqrt(sum(float(value.double().square().sum()) for value in vector.values()))


@each_answer
def worth_forgetting(view: View, p: Params) -> Tensor:
    """E w_i F_i, F_i that of `base` "npo" or "ga": -(2/beta) log sigma(-beta [log p - log p_ref]), or <log p(y_t)>."""
    share: Tensor = p["share"].to(view.labels.device)[list(view.rows)]
    if p["base"] == "ga":
        return (share * view.mean_logprob).mean()
    if p["base"] != "npo":
        raise InputError(f"base must be npo or ga, got {p['base']!r}.")
    gaps = logsigmoid(-p["beta"] * (view.logprob - view.reference.logprob))
    return (share * gaps).mean() * (-2 / float(p["beta"]))
