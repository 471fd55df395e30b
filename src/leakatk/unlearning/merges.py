"""Merges, what an `Edit` stage makes of several kept models of one shape: task vectors that agree, or that are elected."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.metrics.memorisation import extraction_strength
from leakatk.unlearning.selection import views

if TYPE_CHECKING:
    from leakatk.unlearning.work import Weights, Work

Params = Mapping[str, Any]
Merged = Callable[["Work", "Weights", Params], dict[str, Tensor]]


def calibrate(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
    """UWC's control (arXiv 2406.09179): share theta_0 + (1 - share) theta, the smallest share with which the retain set's extraction
    strength is at least `keep_at_least` times its start. By bisection in `tries` steps, as if the strength rose with the share.

    A note says the share and both strengths. InputError for a bound outside [0, 1] or no try.
    """
    least, tries = params["keep_at_least"], params["tries"]
    if not 0 <= least <= 1 or tries < 1:
        raise InputError(f"keep_at_least must be between 0 and 1 and tries at least 1, got {least!r} and {tries!r}.")
    parameters = dict(work.loaded.model.named_parameters())
    now = {name: value.detach().clone() for name, value in now.items()}  # they may be the parameters themselves

    def strength(share: float) -> float:
        with torch.no_grad():
            for name, value in now.items():
                parameters[name].copy_(_between(work.start[name].to(value), value, share))
        return float(np.nanmean(extraction_strength(right_tokens(work, "retain"))))

    before = strength(1.0)
    low, high = 0.0, 1.0
    if strength(0.0) >= least * before:
        high = 0.0
    for _ in range(tries if high else 0):
        middle = (low + high) / 2
        value = strength(middle)
        low, high = (low, middle) if value >= least * before else (middle, high)
    found = strength(high)
    work.notes.append(
        f"calibrated with a share of {high:.3g} of the start: extraction strength {found:.3f} on retain prompts, {before:.3f} before."
    )
    return {name: parameters[name].detach().clone() for name in now}


def kept_at_least(edit: Merged) -> Merged:
    """`edit`, but no farther from the start than `calibrate` allows where `keep_at_least` is above 0."""

    def kept(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
        found = edit(work, now, params)
        return calibrate(work, {**now, **found}, params) if params["keep_at_least"] else found

    return kept


def _between(start: Tensor, end: Tensor, share: float) -> Tensor:
    return share * start + (1 - share) * end


def right_tokens(work: Work, stream: str) -> list[list[bool]]:
    """Of each answer, which tokens the model puts first when those before them are given."""
    found = []
    for view in views(work, stream):
        right = (view.logits.argmax(-1) == view.labels) & view.mask
        found += [row[mask].tolist() for row, mask in zip(right, view.mask, strict=True)]
    return found


def _vectors(work: Work, now: Weights, names: Sequence[str], parameter: str) -> Tensor:
    """(n, ...) what each kept model added to a parameter of the start."""
    start = work.start[parameter].to(now[parameter])
    return torch.stack([work.kept[name][parameter].to(start) - start for name in names])


def where_signs_agree(names: Sequence[str], factor: Callable[[Params], float]) -> Merged:
    """NegMerge (arXiv 2410.05583): theta_0 + factor tau, tau the mean of the models' task vectors where all have one sign, else 0."""

    def edit(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
        found, share = {}, factor(params)
        for name, value in now.items():
            vectors = _vectors(work, now, names, name)
            signs = vectors.sign()
            agree = (signs == signs[:1]).all(0) & (signs[0] != 0)
            found[name] = work.start[name].to(value) + share * torch.where(agree, vectors.mean(0), 0.0)
        return found

    return edit


def ties(names: Sequence[str]) -> Merged:
    """TIES (arXiv 2306.01708): theta_0 + tau; of each task vector the `density` of largest entries stays, the sign of an entry is
    that of the sum over models, and tau is the mean over those that have it. Shares are of each parameter by itself.

    InputError for a density outside (0, 1].
    """

    def edit(work: Work, now: Weights, params: Params) -> dict[str, Tensor]:
        density = params["density"]
        if not 0 < density <= 1:
            raise InputError(f"density must be above 0 and at most 1, got {density!r}.")
        found = {}
        for name, value in now.items():
            vectors = torch.stack([trimmed(one, density) for one in _vectors(work, now, names, name)])
            found[name] = work.start[name].to(value) + elected(vectors)
        return found

    return edit


def trimmed(vector: Tensor, density: float) -> Tensor:
    """The vector with all but its share of largest entries at 0."""
    count = max(1, round(density * vector.numel()))
    least = vector.abs().flatten().kthvalue(vector.numel() - count + 1).values
    return torch.where(vector.abs() >= least, vector, 0.0)


def elected(vectors: Tensor) -> Tensor:
    """(n, ...) -> (...): the mean of the entries that have the sign of their sum; 0 where there is none."""
    sign = vectors.sum(0).sign()
    has = (vectors.sign() == sign) & (sign != 0)
    return torch.where(has, vectors, 0.0).sum(0) / has.sum(0).clamp_min(1)
