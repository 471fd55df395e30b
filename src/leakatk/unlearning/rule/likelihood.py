"""Likelihood and surprise of true answers, whole and by halves: what calibrating rounds measure and move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from leakatk.arrays import Floats as Floats
from leakatk.metrics.privacy import min_k_plus_plus_scores
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.prompts import Prompt
from leakatk.unlearning.losses.token import IGNORE, answer_mask


class Likelihoods(NamedTuple):
    """Four (m,) arrays about true answers.

    The second half is what an answer says, after whom it is about: a model that answers with a wrong name and the right
    facts is surprised enough by the whole answer, and leaks. The end token belongs to neither half: a model that says all
    and then babbles would be surprised enough by it.
    """

    logprob: Floats
    """Mean log-probability of a token."""
    surprise: Floats
    """Min-K%++."""
    head: Floats
    """Mean log-probability of a token of the first half."""
    tail: Floats
    """Mean log-probability of a token of the second half."""


def answer_likelihoods(loaded: LoadedModel, prompts: Sequence[Prompt]) -> Likelihoods:
    """The likelihoods of the prompts' true answers, from one forward pass of each."""
    stats = token_stats(loaded, answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts]))
    surprise = min_k_plus_plus_scores([s.logprob for s in stats], [s.mean for s in stats], [s.deviation for s in stats])
    head, tail = (
        np.array([s.logprob[_halves(len(s.logprob))[which]].mean() for s in stats], dtype=np.float64)
        for which in (0, 1)
    )
    return Likelihoods(np.array([s.logprob.mean() for s in stats]), surprise, head, tail)


def _halves(count: int) -> tuple[slice, slice]:
    """The halves of an answer's `count` tokens without the end token. Neither is empty: of one token both are that token."""
    said = max(count - 1, 1)
    return slice(0, max(said // 2, 1)), slice(said // 2, said)


def halves(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Labels (B, T) with all ignored but the first half of each answer's tokens, and with all but the second."""
    kept = (torch.full_like(labels, IGNORE), torch.full_like(labels, IGNORE))
    for row, count in enumerate(answer_mask(labels).sum(-1).tolist()):
        for half, part in zip(kept, _halves(count), strict=True):
            half[row, part] = labels[row, part]
    return kept
