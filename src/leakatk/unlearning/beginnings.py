"""Beginnings that all items of a pass have in common, such as the system prompt of a chat template: run once for all of them.

Causal attention makes the states of a beginning independent of what follows, so values and gradients stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer

from leakatk.errors import ModelError
from leakatk.sampling.kv_cache import cache_keyword
from leakatk.unlearning.batches import Item

# Models that keep something else than all keys and values (a window, a recurrent state), or whose code takes none.
_APART: WeakSet[nn.Module] = WeakSet()


@dataclass(frozen=True)
class Beginning:
    """The first `length` tokens of some items.

    keyword: the name under which the model takes `states`, the keys and values (1, heads, length, size) of each layer.
    """

    length: int = 0
    keyword: str = ""
    states: tuple[tuple[Tensor, Tensor], ...] = ()

    def before(self, rows: int) -> dict[str, DynamicCache]:
        """What the model's next pass takes besides, so that each of so many rows begins with it."""
        if not self.length:
            return {}
        layers = [tuple(state.expand(rows, -1, -1, -1) for state in layer) for layer in self.states]
        return {self.keyword: DynamicCache(layers)}


NONE = Beginning()


def shared_length(items: Sequence[Item], overhead: int) -> int:
    """Tokens that all items begin with and after which no prediction is wanted; 0 where one more pass costs more than it saves.

    overhead: what a pass costs besides its tokens, in tokens.
    """
    if len(items) < 2:
        return 0
    most = min(len(item.prompt) for item in items) - 1  # the answer is predicted after the prompt's last token
    columns = zip(*(item.prompt[:most] for item in items), strict=True)
    length = sum(1 for _ in takewhile(lambda tokens: len(set(tokens)) == 1, columns))
    return length if (len(items) - 1) * length > overhead else 0


def may_share(model: nn.Module) -> bool:
    """Whether a beginning may be run apart: not where processes make passes together, activations are made anew, or a hook
    may look at whole rows.
    """
    if isinstance(model, FSDPModule) or model in _APART or not hasattr(model, "config"):
        return False
    if any(getattr(module, "gradient_checkpointing", False) for module in model.modules()):
        return False
    return not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def run_beginning(model: nn.Module, tokens: Sequence[int], device: torch.device) -> Beginning:
    """Tokens that all items begin with, run once; `NONE` where the model does not allow it."""
    if not may_share(model):
        return NONE
    length = len(tokens)
    try:
        keyword, cache = cache_keyword(cast(PreTrainedModel, model)), DynamicCache(config=cast(Any, model).config)
    except (ModelError, AttributeError):
        _APART.add(model)
        return NONE
    ids = torch.tensor([list(tokens)], device=device)
    places = torch.arange(length, device=device)[None]
    model(input_ids=ids, position_ids=places, use_cache=True, logits_to_keep=1, **{keyword: cache})
    if any(type(layer) is not DynamicLayer or layer.get_seq_length() != length for layer in cache.layers):
        _APART.add(model)
        return NONE
    return Beginning(length, keyword, tuple((layer.keys, layer.values) for layer in cache.layers))
