"""Token-level losses on one forward pass: likelihood, weighted likelihood, entropy, flat logits, hinge."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

IGNORE = -100
# How values (B, T) become a scalar, given a mask (B, T) bool of those that count.
Mean = Callable[[Tensor, Tensor], Tensor]


def answer_mask(labels: Tensor) -> Tensor:
    """(B, T) bool: where there is an answer token."""
    return labels != IGNORE


def label_logprobs(logits: Tensor, labels: Tensor) -> Tensor:
    """(B, T) log p of each label; 0 where the label is ignored."""
    safe = labels.clamp_min(0)
    logprobs = torch.log_softmax(logits.float(), dim=-1).gather(-1, safe.unsqueeze(-1)).squeeze(-1)
    return torch.where(answer_mask(labels), logprobs, 0.0)


def sequence_sum(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) sum over the masked tokens of each answer."""
    return torch.where(mask, values, 0.0).sum(-1)


def sequence_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean over the masked tokens of each answer; an answer without any counts as 0."""
    return sequence_sum(values, mask) / mask.sum(-1).clamp_min(1)


def mean_over_answers(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over an answer's tokens, then over answers: a long answer weighs as much as a short one."""
    return sequence_mean(values, mask).mean()


def mean_over_tokens(values: Tensor, mask: Tensor) -> Tensor:
    """The mean over all masked tokens of the batch, as in most published code: a long answer weighs more."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def nll(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log-likelihood: the mean over an answer's tokens, then over answers."""
    return mean_over_answers(-label_logprobs(logits, labels), answer_mask(labels))


def gradient_ascent(logits: Tensor, labels: Tensor) -> Tensor:
    """-nll. Unbounded below: use it with a retain term and a utility floor."""
    return -nll(logits, labels)


def weighted_ascent(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """-mean_t w_t nll_t with detached weights (B, T)."""
    values = weights.detach() * label_logprobs(logits, labels)
    return mean_over_answers(values, answer_mask(labels))


def wga(logits: Tensor, labels: Tensor, beta: float) -> Tensor:
    """Weighted gradient ascent (arXiv 2502.19301): w_t = p_t^beta, so that tokens already forgotten stop pulling."""
    return weighted_ascent(logits, labels, label_logprobs(logits, labels).exp() ** beta)


def satimp(logits: Tensor, labels: Tensor, beta1: float, beta2: float) -> Tensor:
    """SatImp (arXiv 2505.11953): w_t = p_t^beta1 (1 - p_t)^beta2, saturation and importance together."""
    p = label_logprobs(logits, labels).exp()
    return weighted_ascent(logits, labels, p**beta1 * (1 - p) ** beta2)


def entropies(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) entropy of each prediction, in nats."""
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    return -(logprobs.exp() * logprobs).sum(-1)


def spreads(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) (max_v z_v - mean_v z_v)^2; zero for a uniform prediction."""
    return (logits.float().max(dim=-1).values - logits.float().mean(dim=-1)) ** 2


def hinges(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) 1 + p(y) - max_{v != y} p(v), in [0, 2]."""
    p = torch.softmax(logits.float(), dim=-1)
    index = labels.clamp_min(0).unsqueeze(-1)
    other = p.scatter(-1, index, -1.0).max(dim=-1).values
    return 1 + p.gather(-1, index).squeeze(-1) - other


def log_others(logprobs: Tensor) -> Tensor:
    """(...) log(1 - p) of log-probabilities; p counts as at most 1 - 1e-6, so that it stays finite."""
    return torch.log(-torch.expm1(logprobs.clamp_max(math.log1p(-1e-6))))


def energies(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) -logsumexp(z), the free energy of each prediction: low where the model is sure of itself."""
    return -torch.logsumexp(logits.float(), dim=-1)


def entropy(logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """Mean entropy (nats) of the predictive distribution on the answer tokens."""
    return mean(entropies(logits, labels), answer_mask(labels))


def flat_logits(logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """PDU's forget loss: mean_t (max_v z_tv - mean_v z_tv)^2; zero for a uniform prediction."""
    return mean(spreads(logits, labels), answer_mask(labels))


def inverted_hinge(logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """LoKU's forget loss (ICLR 2025): mean_t [1 + p(y_t) - max_{v != y_t} p(v)], bounded in [0, 2]."""
    return mean(hinges(logits, labels), answer_mask(labels))
