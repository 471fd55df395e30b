"""Beginnings that all items of a pass have in common, such as the system prompt of a chat template: run once for all of them.

Causal attention makes the states of a beginning independent of what follows, so values and gradients stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from weakref import WeakSet

from torch import nn
from torch.distributed.fsdp import FSDPModule
from transformers import PreTrainedModel

from leakatk.errors import ModelError
from leakatk.sampling.kv_cache import Pairs, common_beginning, prefill
from leakatk.unlearning.batches import Item

# Models that keep something else than keys and values, or whose code takes none.
_APART: WeakSet[nn.Module] = WeakSet()


def shared_length(items: Sequence[Item], overhead: int) -> int:
    """Tokens that all items begin with and after which no prediction is wanted; 0 where one more pass costs more than it saves.

    overhead: what a pass costs besides its tokens, in tokens.
    """
    # With an answer's first token: that is predicted after the prompt's last, which each row runs itself.
    length = len(common_beginning([[*item.prompt, item.answer[0]] for item in items])) if items else 0
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


def run_beginning(model: nn.Module, tokens: Sequence[int]) -> Pairs:
    """Keys and values, (1, heads, length, size) a layer, of tokens that all items begin with; none where the model does not allow it."""
    if not may_share(model):
        return []
    try:
        return prefill(cast(PreTrainedModel, model), [tokens])
    except (ModelError, AttributeError):
        _APART.add(model)
        return []
