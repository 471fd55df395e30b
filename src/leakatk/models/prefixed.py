"""Prefixed model: a causal model that reads a fixed beginning before every text, so that one model can have two contexts.

To a reader it is a model like any other: keys and values of the beginning are its own affair, so its cache holds as many
tokens as it is given. In an `Ensemble` it may stand beside the model that it is made from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache, DynamicLayer

from leakatk.errors import ModelError
from leakatk.models.ensemble import cache_name
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import device_of
from leakatk.prompts import Query

_TRIED = ("Where is the river?", "Who wrote 17 books, and when?")


class Prefixed(nn.Module):
    """`model` after other first tokens.

    begin: ids that stand before every text.
    drop: how many first tokens of every text they stand for; these are not seen.
    """

    def __init__(self, model: Any, begin: Sequence[int], drop: int = 0) -> None:
        super().__init__()
        self.model, self.begin, self.drop = model, tuple(begin), drop
        self.config, self.generation_config = model.config, model.generation_config
        self.keyword = cache_name(model)
        kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
        if kinds - {"full_attention"}:
            raise ModelError(
                f"{type(model).__name__} has layers that do not see all of a text; it cannot be read in two contexts at once."
            )
        self._pairs: list[tuple[Tensor, Tensor]] = []

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.model.get_input_embeddings()
        return found

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **inputs: Any,
    ) -> Any:
        """As the model's own; positions and mask are those of the text without its new beginning."""
        rows, width = input_ids.shape
        before = self._beginning()
        layers: list[Any] = list(past_key_values.layers) if past_key_values is not None else []
        if not layers:
            layers = [DynamicLayer() for _ in before]
            if past_key_values is not None:
                past_key_values.layers += layers
        held = int(layers[0].get_seq_length())
        seen = attention_mask.bool() if attention_mask is not None else input_ids.new_ones((rows, held + width)).bool()
        place = seen.long().cumsum(-1)
        if position_ids is None:
            position_ids = (place - 1).clamp(min=0)[:, -width:]
        mask = torch.cat([seen.new_ones((rows, len(self.begin))), seen & (place > self.drop)], dim=-1)
        positions = (position_ids - self.drop).clamp(min=0) + len(self.begin)
        cache = Cache(layers=[_Behind(layer, *pair) for layer, pair in zip(layers, before, strict=True)])
        return self.model(
            input_ids=input_ids,
            attention_mask=mask.long(),
            position_ids=positions,
            use_cache=True,
            **{self.keyword: cache},
            **inputs,
        )

    @torch.no_grad()
    def _beginning(self) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the beginning, (1, heads, tokens, head size) a layer."""
        device = device_of(self.model)
        if not self._pairs or self._pairs[0][0].device != device:
            cache = DynamicCache()
            ids = torch.tensor([self.begin], device=device)
            self.model(input_ids=ids, use_cache=True, logits_to_keep=1, **{self.keyword: cache})
            layers: list[Any] = list(cache.layers)
            self._pairs = [(layer.keys, layer.values) for layer in layers]
        return self._pairs


class _Behind(CacheLayerMixin):  # type: ignore[misc]  # transformers is untyped
    """A layer of a cache after the keys and values of the beginning."""

    is_sliding = False

    def __init__(self, layer: Any, keys: Tensor, values: Tensor) -> None:
        super().__init__()
        self.layer, self.before = layer, (keys, values)
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        own = self.layer.update(key_states, value_states, *args, **kwargs)
        keys, values = (
            torch.cat([first.expand(len(rest), -1, -1, -1).to(rest), rest], dim=2)
            for first, rest in zip(self.before, own, strict=True)
        )
        return keys, values

    def get_seq_length(self) -> int:
        return int(self.layer.get_seq_length()) + self.before[0].shape[2]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return -1

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the layer behind it does it."""


def beginning_of(loaded: LoadedModel, system: str) -> tuple[list[int], int]:
    """(ids, how many first tokens of a prompt they stand for) that make any prompt one with this system message.

    It comes after the message that the template has already. A plain template begins with it, as a paragraph. ModelError where
    the message changes more than the beginning.
    """
    template, tokenizer, found = loaded.template, loaded.tokenizer, set()
    for question in _TRIED:
        bare, whole = (template.prompt_ids(tokenizer, Query(question, system=text)) for text in ("", system))
        pairs = zip(reversed(bare), reversed(whole), strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        found.add((tuple(whole[: len(whole) - same]), len(bare) - same))
    [begin, drop], *others = found
    if others or not begin:
        raise ModelError(
            f"A system message does not stand before the question in the template of {loaded.name}; it cannot be read in two contexts."
        )
    return list(begin), drop


def in_context(loaded: LoadedModel, system: str) -> LoadedModel:
    """The model, read after this system message; it shares the weights."""
    begin, drop = beginning_of(loaded, system)
    mark = hashlib.sha256(f"{loaded.fingerprint}\n{begin}\n{drop}".encode()).hexdigest()
    made: Any = Prefixed(loaded.model, begin, drop)
    return replace(loaded, model=made, name=f"{loaded.name} in another context", fingerprint=mark, notes=[])
