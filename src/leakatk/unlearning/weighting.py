"""Token weights, which tokens of an answer count and how much: what `Train.weigh` takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.batches import Item
from leakatk.unlearning.streams import STREAMS
from leakatk.unlearning.view import View, Weigh


def known_tokens(least: float) -> Weigh:
    """1 for tokens of forget answers to which the reference gives a probability of at least `least`, else 0.

    What it did not know needs no forgetting. Retain answers keep all their tokens.
    """
    if not 0 < least <= 1:
        raise InputError(f"The least probability must be above 0 and at most 1, got {least!r}.")

    def weigh(view: View, params: Mapping[str, Any]) -> Tensor | None:
        if STREAMS[view.stream].side != "forget":
            return None
        return (view.reference.token_logprob >= math.log(least)).float()

    return weigh


Table = dict[tuple[int, ...], Counter[int]]
_TABLES: WeakKeyDictionary[Any, tuple[Table, Table]] = WeakKeyDictionary()


def table_of(items: Iterable[Item]) -> Table:
    """What follows on two tokens, and how often; prompts count too."""
    found: Table = {}
    for item in items:
        ids = (*item.prompt, *item.answer)
        for place in range(2, len(ids)):
            found.setdefault(ids[place - 2 : place], Counter())[ids[place]] += 1
    return found


def share(table: Table, before: tuple[int, ...], token: int) -> float:
    """Of a token after the two before it; 0 where these were never seen."""
    seen = table.get(before)
    return seen[token] / seen.total() if seen else 0.0


def parted_tokens(view: View, params: Mapping[str, Any]) -> Tensor | None:
    """SU (arXiv 2506.00876): 1 for tokens that forget and retain texts predict differently and for those around them, else 0.

    Different: the shares of a token after the two before it, in both sets, are more than `gap` apart. An answer without such a token
    counts as a whole. Retain answers keep all their tokens.
    """
    if STREAMS[view.stream].side != "forget":
        return None
    rows = view.step.streams
    if rows not in _TABLES:
        _TABLES[rows] = table_of(rows.items("forget")), table_of(rows.items("retain"))
    gone, kept = _TABLES[rows]
    found = torch.zeros(view.labels.shape)
    for number, item in enumerate(view.batch.items):
        ids, first = (*item.prompt, *item.answer), len(item.prompt)
        for place in range(max(first, 2), len(ids)):
            before, token = ids[place - 2 : place], ids[place]
            if abs(share(gone, before, token) - share(kept, before, token)) > params["gap"]:
                found[number, max(0, place - first - params["around"]) : place - first + params["around"] + 1] = 1.0
        if not found[number].any():
            found[number] = 1.0
    return found.to(view.labels.device) * view.mask
