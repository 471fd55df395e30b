"""Rounding of weights to few values: to the nearest, and with the help of inputs (GPTQ, AWQ). Matrices are (outputs, inputs)."""

from __future__ import annotations

import torch
from torch import Tensor

DAMP = 0.01  # of the mean of H's diagonal, added to it (GPTQ)
POWERS = tuple(step / 20 for step in range(20))  # the scales that AWQ tries are the inputs' sizes to these powers


def rounded(weight: Tensor, bits: int, group: int = 0) -> Tensor:
    """(rows, columns) weights as their codes give them back; computed in float32. The last group of a row may be shorter."""
    parts = torch.split(weight.float(), group or weight.shape[1], dim=1)
    return torch.cat([_nearest(part, scale_of(part, bits), bits) for part in parts], dim=1).to(weight.dtype)


def scale_of(part: Tensor, bits: int) -> Tensor:
    """(rows, 1): the largest absolute value of each row over the largest code."""
    most: int = 2 ** (bits - 1) - 1
    return part.abs().amax(dim=1, keepdim=True) / most


def _nearest(part: Tensor, scale: Tensor, bits: int) -> Tensor:
    most = 2 ** (bits - 1) - 1
    safe = torch.where(scale > 0, scale, torch.ones_like(scale))  # a row of zeros stays one
    return (part / safe).round().clamp(-most, most) * scale


def gptq(weight: Tensor, hessian: Tensor, bits: int, group: int = 0) -> Tensor:
    """GPTQ (Frantar et al. 2022, arXiv 2210.17323): columns are rounded one after the other, and what a column loses is made up for by
    those that are left, so that the layer's outputs on its inputs change least.

    weight: (rows, columns).  hessian: (columns, columns), the mean of x x^T over the layer's inputs x. Computed in float64.
    With U the upper Cholesky factor of the inverse of H + damping: w_j <- w_j - (w_i - q_i) U_ij / U_ii for each later column j.
    The scale of a row is that of its weights before; that of a group of it is of its weights when its first column comes.
    """
    work, size = weight.double().clone(), weight.shape[1]
    damped = hessian.double().clone()
    dead = damped.diagonal() == 0  # inputs that are always 0: any weight will do, and nothing is to be made up for
    damped.diagonal()[dead] = 1.0
    damped.diagonal().add_(DAMP * damped.diagonal().mean())
    upper = torch.linalg.cholesky(torch.linalg.inv(damped), upper=True)
    found, scale = torch.empty_like(work), scale_of(work, bits)
    for i in range(size):
        if group and i % group == 0:
            scale = scale_of(work[:, i : i + group], bits)
        column = work[:, i : i + 1]
        found[:, i : i + 1] = _nearest(column, scale, bits)
        lost = (column - found[:, i : i + 1]) / upper[i, i]
        work[:, i:] -= lost * upper[i : i + 1, i:]
    return found.to(weight.dtype)


def awq(weight: Tensor, hessian: Tensor, sizes: Tensor, bits: int, group: int = 0) -> Tensor:
    """AWQ (Lin et al. 2023, arXiv 2306.00978): columns whose inputs are large are made larger before rounding and smaller after it, so
    that less of them is lost: Q(W s) / s with s = sizes^a, a the power that changes the layer's outputs least.

    hessian: as in `gptq`.  sizes: (columns,) the mean of |x|. The change of the outputs is the trace of D H D^T, D the change of W.
    """
    best, least = weight, float("inf")
    for power in POWERS:
        scales = sizes.double().clamp(min=1e-8).pow(power)
        scales = (scales / (scales.max() * scales.min()).sqrt()).to(weight.device)
        tried = rounded((weight.double() * scales).float(), bits, group).double() / scales
        change = tried - weight.double()
        loss = float(((change @ hessian.double()) * change).sum())
        if loss < least:
            best, least = tried.to(weight.dtype), loss
    return best
