"""Distillation losses: divergences between next-token distributions, and the targets with adjusted logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leakatk.unlearning.losses.token import Mean, answer_mask, mean_over_answers


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """(..., V) log-probabilities -> (...) KL(p || q). A token that p excludes (log p = -inf) adds nothing."""
    difference = torch.where(log_p.isneginf(), 0.0, log_p - log_q)
    return (log_p.exp() * difference).sum(-1)


def kls_from(logits: Tensor, labels: Tensor, reference: Tensor) -> Tensor:
    """(...) KL(p_ref || p_theta) of each prediction."""
    return _kl(torch.log_softmax(reference.float(), -1), torch.log_softmax(logits.float(), -1))


def kls_to(logits: Tensor, labels: Tensor, reference: Tensor) -> Tensor:
    """(...) KL(p_theta || p_ref) of each prediction."""
    return _kl(torch.log_softmax(logits.float(), -1), torch.log_softmax(reference.float(), -1))


def kl_reference_to_model(reference: Tensor, logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """KL(p_ref || p_theta), token mean: TOFU's and open-unlearning's retain term."""
    return mean(kls_from(logits, labels, reference), answer_mask(labels))


def kl_model_to_reference(logits: Tensor, reference: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """KL(p_theta || p_ref), token mean."""
    return mean(kls_to(logits, labels, reference), answer_mask(labels))


def kls_from_uniform(logits: Tensor, labels: Tensor) -> Tensor:
    """(...) KL(U || p_theta) of each prediction."""
    return -math.log(logits.shape[-1]) - torch.log_softmax(logits.float(), -1).mean(-1)


def kl_uniform_to_model(logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """KL(U || p_theta), token mean: the ME forget loss (arXiv 2410.08109, as its code computes it)."""
    return mean(kls_from_uniform(logits, labels), answer_mask(labels))


def js_divergences(logits: Tensor, labels: Tensor, reference: Tensor) -> Tensor:
    """(...) Jensen-Shannon divergence of each prediction and the reference's, natural log, at most ln 2."""
    log_p, log_q = torch.log_softmax(reference.float(), -1), torch.log_softmax(logits.float(), -1)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2)
    return 0.5 * _kl(log_p, log_m) + 0.5 * _kl(log_q, log_m)


def js_of(first: Tensor, second: Tensor) -> Tensor:
    """(...) Jensen-Shannon divergence of probabilities (..., V)."""
    log_p, log_q = (value.clamp_min(1e-30).log() for value in (first, second))
    log_m = ((first + second) / 2).clamp_min(1e-30).log()
    return 0.5 * _kl(log_p, log_m) + 0.5 * _kl(log_q, log_m)


def js_to_token(logprobs: Tensor) -> Tensor:
    """(...) JS(delta_c, p) given log p(c): ln 2 + [p ln p - (1 + p) ln(1 + p)] / 2. All else of p cancels."""
    p = logprobs.exp()
    return math.log(2) + 0.5 * (p * logprobs - (1 + p) * torch.log1p(p))


def jensen_shannon(first: Tensor, second: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """JS divergence of two sets of logits (natural log, at most ln 2), token mean."""
    return mean(js_divergences(second, labels, first), answer_mask(labels))


def cross_entropies_to(target_logits: Tensor, logits: Tensor) -> Tensor:
    """(...) cross entropy of each prediction to softmax(target_logits); no gradient reaches the target."""
    target = torch.softmax(target_logits.detach().float(), -1)
    logprobs = torch.log_softmax(logits.float(), -1)
    # A token with target probability 0 adds nothing, however small its log-probability.
    return -torch.where(target > 0, target * logprobs, 0.0).sum(-1)


def cross_entropy_to(target_logits: Tensor, logits: Tensor, labels: Tensor, mean: Mean = mean_over_answers) -> Tensor:
    """Cross entropy to softmax(target_logits), token mean; no gradient reaches the target."""
    return mean(cross_entropies_to(target_logits, logits), answer_mask(labels))


def undial_target(reference: Tensor, labels: Tensor, strength: float) -> Tensor:
    """UNDIAL (arXiv 2402.10052): the reference logits with the true token's lowered by `strength`.

    Where no label is given they stay as they are.
    """
    lower = strength * answer_mask(labels).to(reference.dtype)
    return reference.scatter_add(-1, labels.clamp_min(0).unsqueeze(-1), -lower.unsqueeze(-1))


def without_label(logits: Tensor, labels: Tensor) -> Tensor:
    """CE-U (arXiv 2503.01224): the model's own (detached) logits with the true token's at -inf."""
    return logits.detach().scatter(-1, labels.clamp_min(0).unsqueeze(-1), float("-inf"))


def skip_first(labels: Tensor, count: int) -> Tensor:
    """Labels with the first `count` answer tokens ignored."""
    skipped = labels.clone()
    skipped[:, :count] = -100
    return skipped


def whp_target(base: Tensor, reinforced: Tensor, alpha: float) -> Tensor:
    """Who's Harry Potter (arXiv 2310.02238): z_base - alpha * ReLU(z_reinforced - z_base)."""
    return base - alpha * torch.relu(reinforced - base)
