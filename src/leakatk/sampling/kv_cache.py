"""Cache of keys and values of the live rows, preallocated, and the plain step: transformers' module.

All rows share one write position, the cursor. A row's tokens are contiguous and end at the cursor, so rows of different
lengths start at different slots (left padding); a row may join at any moment, and sliding windows stay correct because
distances between slots are distances between positions.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from leakatk.arrays import Ints
from leakatk.errors import ModelError
from leakatk.models.placement import device_of
from leakatk.sampling.decoding import Decoding

Pairs = list[tuple[Tensor, Tensor]]


class Slots:
    """Room for `rows` rows: keys and values of each layer, (rows, heads, columns, head size). Column c is slot offset + c.

    `cursor` is the slot written next, `begin` where it starts: all prompts fit before it. `low` is the first slot in use.
    Row arguments, all (R,): start, the slot of the prompt's first token; drawn, how many answer tokens there are.
    `step`: the number of columns is a multiple of it.
    """

    step = 1

    def __init__(self, shapes: Pairs, rows: int, slots: int, begin: int, offset: int) -> None:
        self.rows, self.slots, self.begin, self.offset = rows, slots, begin, offset
        self.low = self.cursor = begin
        columns = -(-(slots - offset) // self.step) * self.step
        # Zeros, not empty: masked slots get weight 0, and 0 x NaN would still be NaN.
        self.keys, self.values = (
            [_zeros((rows, pair[side].shape[1], columns, pair[side].shape[3]), pair[side]) for pair in shapes]
            for side in (0, 1)
        )

    @staticmethod
    def bytes_per_slot(shapes: Pairs) -> int:
        return sum(x.shape[1] * x.shape[3] * x.element_size() for pair in shapes for x in pair)

    def lowest(self, start: Ints, drawn: Ints) -> int:
        """The first slot that rows use."""
        raise NotImplementedError

    def columns(self, low: int, end: int) -> slice:
        return slice(low - self.offset, end - self.offset)

    def copy(self, source: Ints, target: Ints) -> None:
        """Rows `source` onto rows `target` (disjoint from `source`), the slots in use only."""
        used = self.columns(self.low, self.cursor + 1)
        for store in (*self.keys, *self.values):
            if store.device.type == "cpu":  # numpy copies rows several times faster
                raw = store.view(torch.uint8).numpy()[:, :, used]
                raw[target] = raw[source]
            else:
                to, of = (torch.from_numpy(rows).to(store.device) for rows in (target, source))
                store[to, :, used] = store[of, :, used]

    def make_room(self, start: Ints, drawn: Ints) -> int:
        """Move the slots in use to the left, until the longest answer starts at `begin`; returns by how much."""
        by = self.cursor - int(drawn.max()) - self.begin
        self.low = self.lowest(start, drawn)
        used, moved = self.columns(self.low, self.cursor), self.columns(self.low - by, self.cursor - by)
        for store in (*self.keys, *self.values):
            store[: len(start), :, moved] = store[: len(start), :, used].clone()
        self.low -= by
        self.cursor -= by
        return by


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    # numpy's zeros are pages that the system hands out when they are first written; torch writes them all at once.
    return torch.from_numpy(np.zeros(int(np.prod(shape)) * like.element_size(), np.uint8)).view(like.dtype).view(shape)


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """One layer of `ModuleDecoder` as transformers' attention wants it."""

    is_sliding = False

    def __init__(self, owner: ModuleDecoder, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        # Weak: a cycle would keep the cache, gigabytes of it, until the garbage collector happens to run.
        self.owner = weakref.proxy(owner)
        self.keys, self.values = keys, values
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        rows, low, cursor = len(key_states), self.owner.low, self.owner.cursor
        self.keys[:rows, :, cursor] = key_states[:, :, 0]
        self.values[:rows, :, cursor] = value_states[:, :, 0]
        return self.keys[:rows, :, low : cursor + 1], self.values[:rows, :, low : cursor + 1]

    def get_seq_length(self) -> int:
        return int(self.owner.cursor - self.owner.low)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: allocated on construction."""


class ModuleDecoder(Slots):
    """Any model of transformers with keys and values in every layer; each row holds its prompt's too."""

    def __init__(self, model: PreTrainedModel, shapes: Pairs, rows: int, slots: int, begin: int) -> None:
        super().__init__(shapes, rows, slots, begin, offset=0)
        self.model = model
        self.hf = Cache(layers=[_SlotLayer(self, *pair) for pair in zip(self.keys, self.values, strict=True)])
        self.given = {cache_keyword(model): self.hf}

    def lowest(self, start: Ints, drawn: Ints) -> int:
        return int(start.min())

    def enter(self, row: int, prefix: Pairs, lengths: Sequence[int]) -> None:
        """Prompts 0, 1, ... of a `prefill`, of these lengths, into rows `row`, `row` + 1, ...; they end at the cursor."""
        for keys, values, prompt in zip(self.keys, self.values, prefix, strict=True):
            for index, length in enumerate(lengths):
                used = slice(self.cursor - length, self.cursor)
                keys[row + index, :, used] = prompt[0][index, :, :length]
                values[row + index, :, used] = prompt[1][index, :, :length]

    def leave(self, prompts: Ints) -> None:
        """Only these prompts, by their place, still have rows. Nothing to do: the rows hold all there is."""

    def features(self, tokens: Tensor, start: Ints, drawn: Ints, prompt: Ints) -> Tensor:
        """Feed each row one token (R,) at the cursor. prompt (R,): which of those that entered and did not leave.
        Returns what `logits` needs, (R, ...)."""
        self.low = self.lowest(start, drawn)
        slots = torch.arange(self.low, self.cursor + 1, device=tokens.device)
        first = torch.as_tensor(start, device=tokens.device)
        output = self.model(
            input_ids=tokens[:, None],
            attention_mask=slots[None, :] >= first[:, None],
            position_ids=(self.cursor - first)[:, None],
            use_cache=True,
            logits_to_keep=1,
            **self.given,
        )
        logits: Tensor = output.logits[:, -1]
        return logits

    def logits(self, features: Tensor) -> Tensor:
        """(R, V) next-token logits of rows of `features`."""
        return features


def cache_keyword(model: PreTrainedModel) -> str:
    """The name under which the model's `forward` takes keys and values: `cache`, or `past_key_values` in older releases.

    Read from the model under an adapter or torch.compile; where somebody put another `forward` in place, of the model or of
    its class, from what lies under it: those hand all keywords on. ModelError when it takes neither.
    """
    base = getattr(model, "_orig_mod", model)
    base = base.get_base_model() if hasattr(base, "get_base_model") else base
    for forward in (base.forward, type(base).forward, getattr(base, "base_model", base).forward):
        taken = inspect.signature(forward).parameters
        for name in ("cache", "past_key_values"):
            if name in taken:
                return name
    raise _not_known(model, "its forward takes neither cache nor past_key_values")


def prefill(model: PreTrainedModel, prefixes: Sequence[Sequence[int]], shared: Pairs | None = None) -> Pairs:
    """Keys and values of each layer, (prompts, heads, longest, head size), of prefixes of at least 1 token.

    Shorter prefixes are padded on the right, where a causal model never looks: their own first positions hold.
    shared: keys and values, (1, heads, s, head size), of s first tokens that all prefixes begin with and exceed.
    """
    unknown = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    if unknown:
        raise _not_known(model, f"it has {', '.join(sorted(unknown))} layers")
    device = device_of(model)
    width = max(len(ids) for ids in prefixes)
    ids = torch.zeros((len(prefixes), width), dtype=torch.long)
    for row, prefix in enumerate(prefixes):
        ids[row, : len(prefix)] = torch.as_tensor(list(prefix))
    begun = 0 if shared is None else shared[0][0].shape[2]
    cache = expanded(shared or [], len(prefixes))
    given = {cache_keyword(model): cache}
    model(input_ids=ids[:, begun:].to(device), use_cache=True, logits_to_keep=1, **given)
    pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    if not pairs or any(k is None or v is None or k.dim() != 4 or k.shape[2] != width for k, v in pairs):
        raise _not_known(model, "it does not keep keys and values in every layer")
    return [(k, v) for k, v in pairs if k is not None and v is not None]


def expanded(pairs: Pairs, rows: int) -> DynamicCache:
    """A cache of transformers in which every row begins with the keys and values of one text, (1, heads, s, head size) a layer."""
    cache = DynamicCache()
    for layer, pair in enumerate(pairs):
        cache.update(*(x.expand(rows, -1, -1, -1) for x in pair), layer)
    return cache


def _not_known(model: PreTrainedModel, why: str) -> ModelError:
    return ModelError(
        f"The native engine does not know the architecture of {type(model).__name__}: {why}. "
        "Use --engine generate, which samples whatever transformers can generate from."
    )


def slots_for(longest: int, decoding: Decoding, *, joining: bool = True) -> int:
    """Slots of the cache: the longest row, and, where rows join a batch on its way, room to move on before older slots
    must be given back."""
    return longest + decoding.max_new_tokens + (max(16, decoding.max_new_tokens // 2) if joining else 0)


def common_beginning(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with; each has at least two more. Empty for a single prompt."""
    low, high = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 2 if len(prompts) > 1 else 0
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low[: max(0, most)], high, strict=False))]
