"""Preference losses. One shape for all: -(2/beta) mean log sigma(margin), the margin telling them apart."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from leakatk.errors import InputError
from leakatk.unlearning.losses.token import answer_mask, label_logprobs, sequence_mean, sequence_sum


def summed_logprob(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) log p(answer | prompt), summed over tokens."""
    return sequence_sum(label_logprobs(logits, labels), answer_mask(labels))


def mean_logprob(logits: Tensor, labels: Tensor) -> Tensor:
    """(B,) log p(answer | prompt) divided by the number of tokens."""
    return sequence_mean(label_logprobs(logits, labels), answer_mask(labels))


def negative_log_sigmoid(margin: Tensor, beta: float) -> Tensor:
    """-(2/beta) mean log sigma(margin), margin (B,). The factor makes its gradient that of gradient ascent at beta -> 0."""
    if not beta > 0:
        raise InputError(f"The parameter beta must be above 0, got {beta!r}.")
    return -(2.0 / beta) * logsigmoid(margin).mean()


def npo(logprob: Tensor, reference: Tensor, beta: float) -> Tensor:
    """Negative preference optimisation (arXiv 2404.05868, eq. 3): both (B,), summed log-probabilities of the answer."""
    return negative_log_sigmoid(-beta * (logprob - reference), beta)


def simnpo(mean_logprobs: Tensor, beta: float, delta: float = 0.0) -> Tensor:
    """SimNPO (arXiv 2410.07163): no reference, length-normalised; margin beta * (mean nll - delta)."""
    return negative_log_sigmoid(beta * (-mean_logprobs - delta), beta)


def dpo(win: Tensor, win_reference: Tensor, lose: Tensor, lose_reference: Tensor, beta: float) -> Tensor:
    """DPO in unlearning's scale: win the wanted answer, lose the one to forget, summed log-probabilities (B,)."""
    return negative_log_sigmoid(beta * ((win - win_reference) - (lose - lose_reference)), beta)


def orpo_odds(win_mean: Tensor, lose_mean: Tensor) -> Tensor:
    """ORPO's -mean log sigma(log odds ratio), odds = P / (1 - P) with P = exp(mean log-probability), (B,) each."""

    def log_odds(mean: Tensor) -> Tensor:
        return mean - torch.log1p(-mean.clamp_max(-1e-6).exp())

    return -logsigmoid(log_odds(win_mean) - log_odds(lose_mean)).mean()
