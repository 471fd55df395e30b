"""Linearised model: the step in a few parameters to where training without the forget set would have ended (Fast-NTK)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.selection import trainable, views

if TYPE_CHECKING:
    from leakatk.unlearning.edits import Params
    from leakatk.unlearning.work import Weights, Work


def deletion(retain: Tensor, forget: Tensor, left: Tensor, penalty: float) -> Tensor:
    """(p,) D from the minimum of sum_i (f_i - y_i)^2 + lambda |phi - phi_0|^2 over both sets to that over the retain set, f linear in phi.

    retain J_r (m, p) and forget J_f (n, p): gradients of f.  left (n,): y - f of the forget items at the first minimum.  penalty: lambda.
    D = -P J_f' left / lambda, P = I - J_r' (J_r J_r' + lambda I)^-1 J_r: a matrix of as many rows as there are retain items is solved for.
    """
    eye = torch.eye(len(retain), dtype=retain.dtype, device=retain.device)
    along = forget.T @ left
    kept = retain.T @ torch.linalg.solve(retain @ retain.T + penalty * eye, retain @ along)
    found: Tensor = (kept - along) / penalty
    return found


def linearise(work: Work, stream: str, names: list[str], most: int) -> tuple[Tensor, Tensor]:
    """(n,) <log p(y_t) - log(1 - p(y_t))> of the first `most` answers of a stream, and (n, p) their gradients; float64."""
    model = work.loaded.model
    chosen = [model.get_parameter(name) for name in names]
    flags = {name: value.requires_grad for name, value in model.named_parameters()}
    for name, value in model.named_parameters():
        value.requires_grad_(name in set(names))
    outputs, rows = [], []
    try:
        for number, view in enumerate(views(work, stream, batch_size=1)):
            if number == most:
                break
            with torch.enable_grad():
                said = view.token_logprob
                odds = said - torch.log(-torch.expm1(said.clamp_max(-1e-6)))
                output = view.mean(odds)
                found = torch.autograd.grad(output, chosen)
            outputs.append(output.detach().double())
            rows.append(torch.cat([one.flatten() for one in found]).double())
    finally:
        for name, value in model.named_parameters():
            value.requires_grad_(flags[name])
    return torch.stack(outputs), torch.stack(rows)


def to_retrained(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """Fast-NTK (arXiv 2312.14923): `deletion` of the forget set in the parameters whose names match the regular expression `tensors`.

    f is an answer's mean log-odds, its label y is `label`; lambda is `penalty` times the mean squared gradient of the retain items. The first
    `items` retain prompts are looked at. A note says how many of what there were, and what the linear model expects of the forget answers.
    InputError where nothing matches, or a number makes no sense.
    """
    model, most = work.loaded.model, params["items"]
    if not params["penalty"] > 0 or most < 1:
        raise InputError(
            f"penalty must be above 0 and items at least 1, got {params['penalty']!r} and {params['items']!r}."
        )
    names = trainable(model, params["tensors"])
    _, retain = linearise(work, "retain", names, most)
    before, forget = linearise(work, "forget", names, len(work.forget))
    penalty = params["penalty"] * float(retain.square().sum(1).mean())
    step = deletion(retain, forget, params["label"] - before, penalty)
    expected = float((before + forget @ step).mean())
    found, start = {}, 0
    for name in names:
        size = now[name].numel()
        found[name] = (now[name].double() + step[start : start + size].view(now[name].shape)).to(now[name])
        start += size
    work.notes.append(
        f"fast-ntk moved {start} numbers by {float(step.norm()):.3g}, with the gradients of {len(forget)} forget and {len(retain)} of {len(work.retain)} retain "
        f"prompts; log-odds of forget answers: {float(before.mean()):.2f}, expected {expected:.2f}."
    )
    return found
