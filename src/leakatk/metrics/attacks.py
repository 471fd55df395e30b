"""Membership attacks on one model: the forget texts against the holdout texts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from leakatk.metrics import privacy
from leakatk.metrics.base import Floats, Pairs, Scores
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import TokenStats, gradient_norms

ATTACKS = ("loss", "zlib", "min-k", "min-k++", "grad-norm")
LEAST_DEVIATION = 1e-3  # in Min-K%++: OpenUnlearning takes no variance below 1e-6


class Side(NamedTuple):
    """Texts that were in training, or were not: their ids, what the model thinks of these, and the scored text, for zlib."""

    pairs: Pairs
    stats: Sequence[TokenStats]
    texts: Sequence[str]


def attack_scores(loaded: LoadedModel, forget: Side, holdout: Side, *, ends: bool, grad_norm: bool) -> Scores:
    """Attack -> (forget scores, holdout scores), low for a likely member.

    ends: the last id of each text is an end token; as in OpenUnlearning it counts for the loss (loss, zlib) and not for
    the other attacks.  grad_norm: one backward pass a text, with the gradients of all parameters in memory.
    """
    both = [_scores(loaded, side, ends=ends, grad_norm=grad_norm) for side in (forget, holdout)]
    return {name: (both[0][name], both[1][name]) for name in both[0]}


def without_ends(pairs: Pairs) -> Pairs:
    """The same without the last scored id, as `TokenStats.without_end`."""
    return [(prompt, ids[: max(1, len(ids) - 1)]) for prompt, ids in pairs]


def attack_values(scores: Scores) -> dict[str, float]:
    """auc_NAME and tpr_NAME (true positives at 1% false ones) of every attack; NaN for those not made."""
    values = {}
    for attack in ATTACKS:
        pair = scores.get(attack)
        values[f"auc_{attack}"] = privacy.auc(*pair) if pair else math.nan
        values[f"tpr_{attack}"] = privacy.tpr_at_fpr(*pair) if pair else math.nan
    return values


def _scores(loaded: LoadedModel, side: Side, *, ends: bool, grad_norm: bool) -> dict[str, Floats]:
    pairs, whole, texts = side
    stats = [s.without_end() for s in whole] if ends else whole
    steps = [s.logprob for s in stats]
    found = {
        "loss": privacy.loss_scores([s.logprob for s in whole]),
        "zlib": privacy.zlib_scores([s.logprob for s in whole], texts),
        "min-k": privacy.min_k_scores(steps),
        "min-k++": privacy.min_k_plus_plus_scores(
            steps, [s.mean for s in stats], [s.deviation for s in stats], least=LEAST_DEVIATION
        ),
    }
    if grad_norm:
        found["grad-norm"] = gradient_norms(loaded, without_ends(pairs) if ends else pairs)
    return found
