"""Linear maps fitted to states: in closed form, or by descent."""

from __future__ import annotations

import torch
from torch import Tensor

from leakatk.errors import InputError


def ridge(gram: Tensor, cross: Tensor, penalty: float) -> Tensor:
    """D (o, i) that minimises sum_n |D x_n - e_n|^2 + lambda |D|^2, from sums over n alone.

    gram (i, i): sum of x x^T.  cross (o, i): sum of e x^T.  penalty: lambda as a share of the mean of gram's diagonal, so that it
    depends neither on the number of rows nor on their scale.  Computed and given in float64.  InputError for a penalty that is
    not above 0, or where all x are 0.

    Fit a change D of a map W that is already good by giving as e what W leaves over: |D| is then how far W moves.
    """
    if not penalty > 0:
        raise InputError(f"The penalty of a ridge regression must be above 0, got {penalty!r}.")
    gram, cross = gram.double(), cross.double()
    scale = float(gram.diagonal().mean())
    if not scale > 0:
        raise InputError("Nothing to fit: all inputs of the linear map are 0.")
    whole = gram + penalty * scale * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    return torch.cholesky_solve(cross.T, torch.linalg.cholesky(whole)).T


def null_space_ridge(keys: Tensor, left: Tensor, keep: Tensor, penalty: float, before: Tensor | None = None) -> Tensor:
    """D (o, i) = R K' P (K K' P + C P + lambda I)^-1: leads keys to what is left, within the range of P.

    keys K (i, m).  left R (o, m).  keep P (i, i): a projector, as `leakatk.unlearning.nullspace.projector` gives.  penalty: lambda as a share of
    the mean of the diagonal of K K', as of `ridge`.  before C (i, i): the sum of k k' over the keys of earlier edits, which D then leaves
    alone as well.  float64.  With P = P P it minimises |D K - R|^2 + tr(D C D') + lambda |D|^2 over D = D P (AlphaEdit, ROCR, UniErase).
    InputError for a penalty that is not above 0, or keys that are all 0.
    """
    if not penalty > 0:
        raise InputError(f"The penalty of a ridge regression must be above 0, got {penalty!r}.")
    keys, left, keep = keys.double(), left.double(), keep.double()
    gram = keys @ keys.T
    scale = float(gram.diagonal().mean())
    if not scale > 0:
        raise InputError("Nothing to fit: all inputs of the linear map are 0.")
    whole = gram if before is None else gram + before.double()
    eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    found: Tensor = torch.linalg.solve(keep @ whole + penalty * scale * eye, keep @ keys @ left.T).T
    return found


def descend(
    weight: Tensor, inputs: Tensor, targets: Tensor, *, learning_rate: float, epochs: int, batch: int, decay: float, seed: int
) -> Tensor:  # fmt: skip
    """W (o, i), from `weight`, after AdamW on the mean of (W x_n - t_n)^2 over entries, in shuffled batches of rows.

    inputs (n, i), targets (n, o).  decay: the learning rate is multiplied by it after each epoch.  AdamW's other numbers are
    PyTorch's own: betas .9 and .999, weight decay .01.  float32, and a function of its arguments alone.
    """
    trained = weight.detach().float().clone().requires_grad_(True)
    optimiser = torch.optim.AdamW([trained], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, gamma=decay)
    order = torch.Generator().manual_seed(seed)
    with torch.enable_grad():
        for _ in range(epochs):
            drawn = torch.randperm(len(inputs), generator=order).to(inputs.device)
            for start in range(0, len(drawn), batch):
                rows = drawn[start : start + batch]
                left = inputs[rows].float() @ trained.T - targets[rows].float()
                optimiser.zero_grad()
                torch.autograd.backward((left**2).mean())
                optimiser.step()
            schedule.step()
    return trained.detach()
