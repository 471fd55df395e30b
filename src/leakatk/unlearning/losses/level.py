"""Levels of surprise of an answer, as numbers with a gradient, and the one it should have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leakatk.arrays import Floats
from leakatk.metrics.privacy import LOWEST
from leakatk.unlearning.losses.token import answer_mask, label_logprobs


def min_k_plus_plus(logits: Tensor, labels: Tensor, share: float = LOWEST) -> Tensor:
    """(B,) Min-K%++ of the answers (`leakatk.metrics.privacy.min_k_plus_plus_scores`), with gradient; low for a likely member."""
    mask = answer_mask(labels)
    logprobs = torch.log_softmax(logits.float(), -1)
    p = logprobs.exp()
    mean = (p * logprobs).sum(-1)
    deviation = ((p * logprobs.square()).sum(-1) - mean.square()).clamp_min(1e-12).sqrt().clamp_min(1e-6)
    standard = ((label_logprobs(logits, labels) - mean) / deviation).masked_fill(~mask, float("inf"))
    count = (mask.sum(-1) * share).long().clamp_min(1)
    lowest = standard.sort(-1).values
    kept = torch.arange(lowest.shape[1], device=lowest.device) < count[:, None]
    return -lowest.masked_fill(~kept, 0.0).sum(-1) / count


def quantile_targets(values: Floats, level: Floats) -> Floats:
    """Targets that give `values` (m,) the distribution of `level` in the cheapest way: rank r goes to its r-th quantile."""
    if not len(values):
        return np.empty(0)
    ranks = np.empty(len(values))
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return np.quantile(level, (ranks + 0.5) / len(values))
