"""Losses on what a model puts out for a prompt: its logits at the first place of an answer, and margins."""

from __future__ import annotations

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.losses.distill import kls_from
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.losses.token import log_others, sequence_mean
from leakatk.unlearning.view import View, each_answer


@each_answer
def first_logits(view: View, told: View, p: Params) -> Tensor:
    """DUET: the sum over tokens v of Huber(z_v(x) - z_ref,v(told + x)) at the first place of an answer, v the `top` likeliest under the
    reference there.

    told: the same prompts behind an instruction. InputError for a `top` below 1.
    """
    if p["top"] < 1:
        raise InputError(f"top must be at least 1, got {p['top']!r}.")
    now, wanted = view.logits[:, 0].float(), told.reference.logits[:, 0].float()
    chosen = wanted.topk(min(p["top"], wanted.shape[-1]), dim=-1).indices
    pairs = now.gather(-1, chosen), wanted.gather(-1, chosen)
    return torch.nn.functional.huber_loss(*pairs, reduction="none", delta=p["delta"]).sum(-1).mean()


def margins(logprobs: Tensor) -> Tensor:
    """(...) log(p / (1 - p)) of log-probabilities."""
    return logprobs - log_others(logprobs)


def mean_margin(view: View) -> Tensor:
    """(B,) the mean over an answer's tokens of the margin of each."""
    return sequence_mean(margins(view.token_logprob), view.mask)


@each_answer
def as_decoded(view: View, p: Params) -> Tensor:
    """Divergence decoding, distilled: <KL(q || p)>, q = softmax(z_ref + alpha (log p_clean - log p_dirty)), both models given."""

    def values(logits: Tensor, labels: Tensor, reference: Tensor, clean: Tensor, dirty: Tensor) -> Tensor:
        moved = clean.float().log_softmax(-1) - dirty.float().log_softmax(-1)
        return kls_from(logits, labels, reference.float() + p["alpha"] * moved)

    return view.mean(view.of_tokens(values, view.reference, view.under("clean"), view.under("dirty")))


@each_answer
def like_retrained(view: View, p: Params) -> Tensor:
    """Oracle matching (arXiv 2410.23232): E (m - m_retrained)^2, m the mean margin of an answer, "retrained" a model that was given."""
    return ((mean_margin(view) - mean_margin(view.under("retrained"))) ** 2).mean()


@each_answer
def like_predicted(view: View, p: Params) -> Tensor:
    """Datamodel matching (arXiv 2410.23232): E (m - m_predicted)^2, the predictions those in `Known.margins`."""
    wanted = [view.step.streams.margin(view.stream, row) for row in view.rows]
    return ((mean_margin(view) - torch.tensor(wanted, device=view.labels.device)) ** 2).mean()
