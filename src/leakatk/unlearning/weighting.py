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
from leakatk.scorers.keys import key_tokens
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
    chosen = torch.zeros(view.labels.shape, dtype=torch.bool)
    for number, item in enumerate(view.batch.items):
        ids, first = (*item.prompt, *item.answer), len(item.prompt)
        for place in range(max(first, 2), len(ids)):
            before, token = ids[place - 2 : place], ids[place]
            apart = abs(share(gone, before, token) - share(kept, before, token))
            chosen[number, place - first] = apart > params["gap"]
    return _with_neighbours(chosen.to(view.mask.device), view.mask, params["around"])


def assisted(gone: str, kept: str) -> Weigh:
    """SU-LLM (arXiv 2506.00876): as `parted_tokens`, with two kept models in the place of tables, which learnt the forget and the retain set.

    A token is chosen where |p_gone(y_t) - p_kept(y_t)| is above the mean of its answer plus `deviations` standard deviations.
    """

    def weigh(view: View, params: Mapping[str, Any]) -> Tensor | None:
        if STREAMS[view.stream].side != "forget":
            return None
        apart = (view.under(gone).token_logprob.exp() - view.under(kept).token_logprob.exp()).abs().double()
        count = view.mask.sum(1, keepdim=True).clamp_min(1)
        mean = apart.masked_fill(~view.mask, 0).sum(1, keepdim=True) / count
        spread = ((apart - mean) ** 2).masked_fill(~view.mask, 0).sum(1, keepdim=True) / count
        chosen = (apart > mean + params["deviations"] * spread.sqrt()) & view.mask
        return _with_neighbours(chosen, view.mask, params["around"])

    return weigh


def _with_neighbours(chosen: Tensor, mask: Tensor, around: int) -> Tensor:
    """(B, T) 1 for chosen tokens and those at most `around` places away; an answer without any counts as a whole."""
    size = 2 * around + 1
    near = torch.nn.functional.max_pool1d(chosen.float()[:, None], size, stride=1, padding=around)[:, 0]
    none = ~chosen.any(1, keepdim=True)
    return torch.where(none, 1.0, near) * mask


_KEYS: WeakKeyDictionary[Any, dict[tuple[str, int], list[float]]] = WeakKeyDictionary()


def focused(view: View, params: Mapping[str, Any]) -> Tensor | None:
    """With `focus` "keys": 1 for tokens of names and numbers that an answer says and its question does not, else 0; "all": no weights.

    An answer without any such token does not count. InputError for another focus.
    """
    if params["focus"] not in ("all", "keys"):
        raise InputError(f"focus must be all or keys, got {params['focus']!r}.")
    if params["focus"] == "all" or STREAMS[view.stream].side != "forget":
        return None
    streams = view.step.streams
    kept = _KEYS.setdefault(streams, {})
    found = torch.zeros(view.labels.shape)
    for number, (row, item) in enumerate(zip(view.rows, view.batch.items, strict=True)):
        if (view.stream, row) not in kept:
            kept[view.stream, row] = key_tokens(item.answer, streams.prompt(view.stream, row), streams.text)
        weights = kept[view.stream, row]
        found[number, : len(weights)] = torch.tensor(weights)
    return found.to(view.labels.device) * view.mask
