"""Effective decoding distribution of logits: one definition for the sampler, the exact probabilities and the bounds.

Temperature is applied first (after the repetition penalty); top-k, top-p and min-p then each keep the tokens whose
logit reaches a threshold, so the support of a row is {token: logit >= threshold}. Tokens that tie with the threshold
are all kept (transformers' top-p cuts ties at random), so the distribution never depends on a sorting order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from leakatk.models.checks import check_finite
from leakatk.sampling.decoding import Decoding

_FIRST_LOOK = 256  # tokens looked at before a full sort is paid for


def penalise(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """CTRL's repetition penalty (Keskar et al. 2019, as in transformers): logits (rows, V), history (rows, L) of the token
    ids of prompt and answer so far; padding must repeat a token of its own row. Returns new logits."""
    if penalty == 1.0:
        return logits
    seen = logits.gather(1, history)
    return logits.scatter(1, history, torch.where(seen < 0, seen * penalty, seen / penalty))


def histories(said: Sequence[Sequence[int]]) -> Tensor:
    """(rows, longest) of texts of any length, as `penalise` wants them: filled up with a row's own first token."""
    width = max(len(ids) for ids in said)
    return torch.tensor([[*ids, *[ids[0]] * (width - len(ids))] for ids in said])


def effective(logits: Tensor, decoding: Decoding, history: Tensor | None = None) -> Tensor:
    """The decoding distribution of each row, not normalised: (rows, V) float32 logits, largest 0, -inf off the support.

    logits (rows, V), any float type; history as in `penalise`, needed only when there is a repetition penalty.
    Greedy decoding puts all mass on the first of the largest logits. ModelError for NaN or infinite ones.
    """
    logits = logits.float()
    if decoding.repetition_penalty != 1.0:
        if history is None:
            raise ValueError("a repetition penalty needs the token history")
        logits = penalise(logits, history, decoding.repetition_penalty)
    top = logits.amax(dim=-1, keepdim=True)
    check_finite(top)
    if decoding.greedy:
        return torch.full_like(logits, -math.inf).scatter_(1, first_largest(logits, top)[:, None], 0.0)
    scaled = logits - top
    if decoding.temperature != 1:
        scaled /= decoding.temperature
    threshold = support_threshold(scaled, decoding)
    if threshold is not None:
        scaled = scaled.masked_fill_(scaled < threshold, -math.inf)
    return scaled


def log_probs(scaled: Tensor) -> Tensor:
    """(rows, V) float64 log-probabilities of `effective`'s logits, -inf off the support."""
    wide = scaled.double()
    return wide - wide.exp().sum(dim=-1, keepdim=True).log()


def first_largest(logits: Tensor, top: Tensor) -> Tensor:
    """(rows,) index of the largest logit, the first one on ties. top (rows, 1): the largest logits."""
    return (logits == top).to(torch.uint8).argmax(dim=-1)


def support_threshold(scaled: Tensor, decoding: Decoding) -> Tensor | None:
    """(rows, 1) smallest logit that stays, or None when every token does. scaled (rows, V): largest logit of a row is 0."""
    threshold: Tensor | None = None
    if 0 < decoding.top_k < scaled.shape[-1]:
        threshold = scaled.topk(decoding.top_k, dim=-1).values[:, -1:]
    if decoding.top_p < 1:
        by_mass = _top_p_threshold(scaled, decoding.top_p, threshold)
        threshold = by_mass if threshold is None else torch.maximum(threshold, by_mass)
    if decoding.min_p > 0:
        by_share = torch.full_like(scaled[:, :1], math.log(decoding.min_p))
        threshold = by_share if threshold is None else torch.maximum(threshold, by_share)
    return threshold


def _top_p_threshold(scaled: Tensor, top_p: float, threshold: Tensor | None) -> Tensor:
    """The logit of the last token of the smallest set of most likely tokens whose mass reaches top_p."""
    weights = scaled.exp()
    if threshold is not None:
        weights = weights.masked_fill_(scaled < threshold, 0.0)
    goal = weights.sum(dim=-1, keepdim=True, dtype=torch.float64) * top_p
    size = scaled.shape[-1]
    for count in (min(_FIRST_LOOK, size), size):
        largest = weights.topk(count, dim=-1, sorted=True)
        mass = largest.values.double().cumsum(dim=-1)
        reached = mass >= goal
        if count == size or bool(reached[:, -1].all()):
            break
    # The first position where the goal is reached; the last one if rounding hides it.
    position = (~reached).sum(dim=-1, keepdim=True).clamp_(max=count - 1)
    return scaled.gather(1, largest.indices.gather(1, position))


def choose(
    logits: Tensor, decoding: Decoding, rows: Tensor, uniforms: Tensor, history: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`draw` from `effective`'s distribution of the logits. For greedy answers without either: the largest logit needs no
    float32 and no distribution."""
    if not decoding.greedy:
        return draw(effective(logits, decoding, history), rows, uniforms)
    if decoding.repetition_penalty != 1.0:
        if history is None:
            raise ValueError("a repetition penalty needs the token history")
        logits = penalise(logits.float(), history, decoding.repetition_penalty)
    top = logits.amax(dim=-1, keepdim=True)
    check_finite(top)
    return first_largest(logits, top)[rows], torch.zeros(len(rows), dtype=torch.float64, device=logits.device)


def draw(scaled: Tensor, rows: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse-CDF draws in token-id order: the first token whose cumulated probability exceeds the uniform.

    scaled (R, V) as `effective` returns it; rows (S,): which row each draw is from; uniforms (S,) float64. Returns
    token ids (S,) and their log-probabilities (S,) float64. The cumulation is in two levels (blocks, then within a
    block), in float64.
    """
    weights = scaled.exp()
    count, size = weights.shape
    width = 1 << max(3, round(math.log2(size) / 2))
    blocks = -(-size // width)
    if blocks * width != size:
        weights = torch.nn.functional.pad(weights, (0, blocks * width - size))
    blocked = weights.view(count, blocks, width)
    sums = blocked.sum(dim=-1).double().cumsum(dim=-1)  # (count, blocks)
    total = sums[:, -1][rows]
    goal = torch.minimum(uniforms * total, torch.nextafter(total, torch.zeros_like(total)))
    mine = sums[rows]
    block = torch.searchsorted(mine, goal[:, None], right=True)
    before = torch.where(block > 0, mine.gather(1, (block - 1).clamp_(min=0)), 0.0)
    inside = blocked[rows, block[:, 0]]  # (S, width)
    passed = inside.double().cumsum(dim=-1) <= goal[:, None] - before
    # If rounding carries the goal past the block's last token, the last token with mass is meant.
    last = width - 1 - (inside > 0).int().flip(-1).argmax(dim=-1)
    place = torch.minimum(passed.sum(dim=-1), last)
    token = block[:, 0] * width + place
    weight = inside.gather(1, place[:, None])[:, 0].double()
    return token, weight.log() - total.log()
