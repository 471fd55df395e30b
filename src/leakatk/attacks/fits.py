"""Fits of a decoder: from states and labels a function that gives true answers higher values than wrong ones.

ridge: a linear one.  neighbours: the share of true answers among the nearest states.  ccs: a linear one without labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from leakatk.attacks.base import Floats

Score = Callable[[Floats], Floats]  # (m, d) states -> (m,) values, higher for what seems true
NEAREST = 5
RESTARTS, STEPS, RATE, DECAY = 8, 400, 0.02, 0.01  # of CCS


def fit_ridge(states: Sequence[Floats], labels: Sequence[Floats], penalty: float, seed: int) -> Score:
    """states, labels: of each prompt the (1 + wrong, d) states and (1 + wrong,) labels, 1 for true and -1 for wrong."""
    weights, offset = ridge(np.concatenate(states), np.concatenate(labels), penalty)
    return lambda rows: rows @ weights + offset


def ridge(states: Floats, labels: Floats, penalty: float) -> tuple[Floats, float]:
    """(weights, offset) of the ridge on states standardised by their own mean and deviation.

    states: (m, d).  labels: (m,) of 1 and -1; both kinds weigh the same.  penalty: beside the mean square.
    """
    share = np.where(labels > 0, 0.5 / max((labels > 0).sum(), 1), 0.5 / max((labels <= 0).sum(), 1))
    mean = share @ states
    deviation = np.sqrt(share @ (states - mean) ** 2)
    used = deviation > 1e-9 * max(1.0, float(np.abs(states).max()))  # a state that never changes says nothing
    weights = np.zeros(states.shape[1])
    if not used.any():
        return weights, 0.0
    x = (states[:, used] - mean[used]) / deviation[used] * np.sqrt(share)[:, None]
    y = (labels - share @ labels) * np.sqrt(share)
    # In the space of the rows, of which there are fewer than columns: w = X' (X X' + penalty I)^-1 y.
    weights[used] = x.T @ np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y) / deviation[used]
    return weights, float(share @ labels - mean @ weights)


def fit_neighbours(states: Sequence[Floats], labels: Sequence[Floats], penalty: float, seed: int) -> Score:
    """The share of true answers among the nearest states, by cosine after the mean is taken off; both kinds weigh the same."""
    flat, said = np.concatenate(states), np.concatenate(labels)
    mean = flat.mean(axis=0)
    weight = np.where(said > 0, 1 / max((said > 0).sum(), 1), 1 / max((said <= 0).sum(), 1))
    known = _unit(flat - mean)
    count = min(NEAREST, len(known))

    def score(rows: Floats) -> Floats:
        near = np.argsort(-np.round(_unit(rows - mean) @ known.T, 9), axis=1, kind="stable")[:, :count]
        share: Floats = (weight * (said > 0))[near].sum(axis=1) / weight[near].sum(axis=1)
        return share

    return score


def _unit(rows: Floats) -> Floats:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    found: Floats = rows / np.where(length > 0, length, 1)
    return found


def fit_ccs(states: Sequence[Floats], labels: Sequence[Floats], penalty: float, seed: int) -> Score:
    """Contrast-consistent search over the pairs (true answer, wrong answer) of each prompt, in an order that does not tell them
    apart. The labels say only which end of the direction is true.
    """
    rng = np.random.default_rng(seed)
    pairs = [(rows[0], row) if rng.random() < 0.5 else (row, rows[0]) for rows in states for row in rows[1:]]
    if not pairs:
        return lambda rows: np.zeros(len(rows))
    first, second = (np.stack(side) for side in zip(*pairs, strict=True))
    flat = np.concatenate([first, second])
    mean, deviation = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(
        deviation > 1e-9 * max(1.0, float(np.abs(flat).max())), 1 / np.where(deviation > 0, deviation, 1), 0
    )
    weights, offset = contrast((first - mean) * scale, (second - mean) * scale, seed)
    values = [(rows - mean) * scale @ weights for rows in states]
    sign = 1.0 if sum(float(np.mean(np.sign(v[0] - v[1:]))) for v in values if len(v) > 1) >= 0 else -1.0
    return lambda rows: sign * ((rows - mean) * scale @ weights + offset)


def contrast(first: Floats, second: Floats, seed: int) -> tuple[Floats, float]:
    """(weights, offset) with the least `contrast_loss` found from several random starts, by AdamW.

    first, second: (m, d) standardised states of the two answers of each pair.
    """
    a, b = torch.from_numpy(first), torch.from_numpy(second)
    draws = torch.Generator().manual_seed(seed)
    weights = torch.randn(RESTARTS, first.shape[1], generator=draws, dtype=torch.float64)
    weights = (weights / weights.norm(dim=1, keepdim=True)).requires_grad_(True)
    offset = torch.zeros(RESTARTS, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.AdamW([weights, offset], lr=RATE, weight_decay=DECAY)
    with torch.inference_mode(False), torch.enable_grad():
        for _ in range(STEPS):
            optimiser.zero_grad()
            contrast_loss(a, b, weights, offset).sum().backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    best = int(contrast_loss(a, b, weights, offset).argmin())
    return weights[best].detach().numpy(), float(offset[best].detach())


def contrast_loss(
    first: torch.Tensor, second: torch.Tensor, weights: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """(restarts,) mean over the pairs of (p(a) - (1 - p(b)))^2 + min(p(a), p(b))^2, p = sigmoid(w.h + b)."""
    p, q = (torch.sigmoid(states @ weights.T + offset) for states in (first, second))
    return ((p - (1 - q)).square() + torch.minimum(p, q).square()).mean(0)


FITS: Mapping[str, Callable[[Sequence[Floats], Sequence[Floats], float, int], Score]] = {
    "ridge": fit_ridge,
    "neighbours": fit_neighbours,
    "ccs": fit_ccs,
}
