"""Keys and values of the live rows, preallocated, in the form transformers' models ask for.

All rows share one write position, the cursor. A row's tokens are contiguous and end at the cursor, so rows of different
lengths start at different slots (left padding); a row may join at any moment, and sliding windows stay correct because
distances between slots are distances between positions.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from leakatk.errors import ModelError


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """One layer: keys and values (rows, heads, slots, head size); reads and writes go through the owner's window."""

    is_sliding = False

    def __init__(self, owner: SlotCache, keys: Tensor, values: Tensor) -> None:
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


class SlotCache:
    """Room for `rows` rows of `slots` slots. `low` is the first slot any live row uses, `cursor` the next to be written."""

    def __init__(self, shapes: Sequence[tuple[Tensor, Tensor]], rows: int, slots: int) -> None:
        self.rows, self.slots = rows, slots
        self.low = self.cursor = 0
        # Zeros, not empty: masked slots get weight 0, and 0 x NaN would still be NaN.
        self.layers = [
            _SlotLayer(self, *(x.new_zeros((rows, x.shape[1], slots, x.shape[3])) for x in pair)) for pair in shapes
        ]
        self.hf = Cache(layers=list(self.layers))

    @staticmethod
    def bytes_per_slot(shapes: Sequence[tuple[Tensor, Tensor]]) -> int:
        return sum(x.shape[1] * x.shape[3] * x.element_size() for pair in shapes for x in pair)

    def write_prefix(self, row: int, prefix: Sequence[tuple[Tensor, Tensor]], index: int, length: int) -> None:
        """Row `index` of a left-padded prefill, its last `length` positions, into slots cursor - length .. cursor."""
        if length == 0:
            return
        for layer, (keys, values) in zip(self.layers, prefix, strict=True):
            layer.keys[row, :, self.cursor - length : self.cursor] = keys[index, :, -length:]
            layer.values[row, :, self.cursor - length : self.cursor] = values[index, :, -length:]

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Rows `source` onto rows `target` (disjoint from `source`), the slots in use only."""
        used = slice(self.low, self.cursor + 1)
        for layer in self.layers:
            layer.keys[target, :, used] = layer.keys[source, :, used]
            layer.values[target, :, used] = layer.values[source, :, used]

    def shift(self, rows: int, by: int) -> None:
        """Move the used slots of the first `rows` rows `by` slots to the left."""
        for layer in self.layers:
            for store in (layer.keys, layer.values):
                store[:rows, :, self.low - by : self.cursor - by] = store[:rows, :, self.low : self.cursor].clone()
        self.low -= by
        self.cursor -= by


def prefill(model: PreTrainedModel, prefixes: Sequence[Sequence[int]]) -> list[tuple[Tensor, Tensor]]:
    """Keys and values of each layer, (prompts, heads, longest, head size), of left-padded prefixes (at least 1 token)."""
    unknown = set(getattr(model.config.get_text_config(), "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    if unknown:
        raise _not_known(model, f"it has {', '.join(sorted(unknown))} layers")
    device = next(model.parameters()).device
    width = max(len(ids) for ids in prefixes)
    ids = torch.zeros((len(prefixes), width), dtype=torch.long)
    mask = torch.zeros((len(prefixes), width), dtype=torch.long)
    for row, prefix in enumerate(prefixes):
        ids[row, width - len(prefix) :] = torch.as_tensor(list(prefix))
        mask[row, width - len(prefix) :] = 1
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache()
    model(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        position_ids=positions.to(device),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    pairs = [(getattr(layer, "keys", None), getattr(layer, "values", None)) for layer in cache.layers]
    if not pairs or any(k is None or v is None or k.dim() != 4 or k.shape[2] != width for k, v in pairs):
        raise _not_known(model, "it does not keep keys and values in every layer")
    return [(k, v) for k, v in pairs if k is not None and v is not None]


def _not_known(model: PreTrainedModel, why: str) -> ModelError:
    return ModelError(
        f"The native engine does not know the architecture of {type(model).__name__}: {why}. "
        "Use --engine generate, which samples whatever transformers can generate from."
    )


def decode_step(model: PreTrainedModel, cache: SlotCache, tokens: Tensor, starts: Tensor) -> Tensor:
    """Feed one token a row at the cursor: tokens (R,), starts (R,) first slot of each row -> logits (R, V)."""
    slots = torch.arange(cache.low, cache.cursor + 1, device=tokens.device)
    output = model(
        input_ids=tokens[:, None],
        attention_mask=slots[None, :] >= starts[:, None],
        position_ids=(cache.cursor - starts)[:, None],
        past_key_values=cache.hf,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = output.logits[:, -1]
    return logits
