"""Tether: a quadratic pull back to the weights at the start, in place of data that is no longer there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.selection import views
from leakatk.unlearning.work import Work

KINDS = ("fisher", "l2")


def fisher(work: Work, stream: str) -> dict[str, Tensor]:
    """E (d mean_t log p(y_t) / d theta)^2 over the answers of a stream, by parameter: the diagonal of the empirical Fisher information."""
    there = dict(work.loaded.model.named_parameters())
    total = {name: torch.zeros_like(value, dtype=torch.float32) for name, value in there.items()}
    count = 0
    with torch.enable_grad():
        for view in views(work, stream, batch_size=1):
            found = torch.autograd.grad(view.mean_logprob.sum(), list(there.values()), allow_unused=True)
            for name, gradient in zip(there, found, strict=True):
                if gradient is not None:
                    total[name] += gradient.float() ** 2
            count += 1
    return {name: value / count for name, value in total.items()}


def tether(work: Work) -> dict[str, Any]:
    """What `pulled` needs, for `Train.gather`: the weights at the start, and how stiffly each is held (mean 1 over all of them).

    The method's `anchor`: "fisher", the information of the retain answers; "l2", all alike, which needs no data. InputError for another
    one, and for "fisher" without retain prompts.
    """
    kind, model = work.params["anchor"], work.loaded.model
    if kind not in KINDS:
        raise InputError(f"anchor must be {' or '.join(KINDS)}, got {kind!r}.")
    live = dict(model.named_parameters())
    start = {name: value.detach().clone() for name, value in live.items()}
    if kind == "l2":
        return {"live": live, "start": start, "stiffness": {}}
    if not work.retain:
        raise InputError("anchor=fisher is the information of retain answers, and there are none; take anchor=l2.")
    found = fisher(work, "retain")
    mean = sum(float(value.double().sum()) for value in found.values()) / sum(value.numel() for value in found.values())
    return {"live": live, "start": start, "stiffness": {name: value / mean for name, value in found.items()}}


def pulled(gradient: Mapping[str, Tensor], params: Mapping[str, Any]) -> dict[str, Tensor]:
    """g + strength s (theta - theta_0), the gradient with that of strength / 2 sum s (theta - theta_0)^2; s of `tether`.

    InputError for an adapter, which has no start of its own.
    """
    start, live = params["start"], params["live"]
    if strange := [name for name in gradient if name not in start]:
        raise InputError(f"The pull is on whole weights, and {strange[0]} is of an adapter; leave --lora out.")
    found = {}
    for name, value in gradient.items():
        away = live[name].detach() - start[name]
        stiff = params["stiffness"].get(name)
        found[name] = value + params["strength"] * (away if stiff is None else stiff * away)
    return found
