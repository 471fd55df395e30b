"""Retain losses. Likelihood, KL and Jensen-Shannon are those of `token` and `distill`."""

from __future__ import annotations

from torch import Tensor

from leakatk.unlearning.losses.distill import jensen_shannon, kl_reference_to_model
from leakatk.unlearning.losses.preference import negative_log_sigmoid
from leakatk.unlearning.losses.token import nll

__all__ = ["answer_preservation", "jensen_shannon", "kl_reference_to_model", "nll"]


def answer_preservation(answer: Tensor, refusal: Tensor, beta: float) -> Tensor:
    """AP (arXiv 2410.08109): -(1/beta) mean log sigma(beta * (log p(answer) - log p(refusal))), no reference, (B,) each."""
    return 0.5 * negative_log_sigmoid(beta * (answer - refusal), beta)
