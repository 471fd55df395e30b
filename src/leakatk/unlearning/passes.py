"""Passes of a model over a batch: what it says where answers are predicted, after every token, and within its layers.

Each distinct item is run once, in groups of like length padded on the right, and what all begin with once for all of them.
The output layer works only where its logits are wanted. Values come back in the layout of the batch, as if its rows had been
run together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from leakatk.errors import InputError
from leakatk.models.checks import check_positions, position_limit
from leakatk.models.layers import decoder_layers as decoder_layers
from leakatk.models.layers import part_of as part_of
from leakatk.sampling.kv_cache import Pairs, cache_keyword, expanded
from leakatk.unlearning.batches import Batch, Item, by_length
from leakatk.unlearning.beginnings import may_share, run_beginning, shared_length
from leakatk.unlearning.losses.token import IGNORE

# What one more pass costs, in tokens: weights are read and their gradients added once more, and a GPU is left idle.
OVERHEAD = {"cpu": 128, "cuda": 4096}
# Padded tokens of a pass whose gradient is taken before the next one: more would hold more memory and be no faster.
MOST = {"cpu": 384, "cuda": 16384}

# Models whose output layer cannot be run at chosen positions alone: all their logits are made, then chosen from.
_WHOLE_HEAD: WeakSet[nn.Module] = WeakSet()


class Flat:
    """Where values of a batch's distinct items stand: one a wanted token, item after item."""

    def __init__(self, batch: Batch, *, whole: bool = False, repeat: bool = False) -> None:
        """whole: every token of prompt and answer is wanted; else the answers' tokens, where they are predicted.

        repeat: an item that was drawn twice is run twice, for models that answer by chance (`by_chance`).
        """
        self.batch, self.whole = batch, whole
        entry: dict[object, int] = {}
        entries = [entry.setdefault((item, i if repeat else 0), len(entry)) for i, item in enumerate(batch.items)]
        device = batch.labels.device
        self.places = torch.tensor([entries.index(number) for number in range(len(entry))], device=device)
        self.entries = torch.tensor(entries, device=device)
        self.items = [batch.items[i] for i in self.places.tolist()]
        self.counts = [len(item) if whole else len(item.answer) for item in self.items]
        self.mask = (batch.attention_mask.bool() if whole else batch.labels != IGNORE)[self.places]

    def positions(self, item: Item) -> range:
        """Columns of an item by itself after which its wanted values stand."""
        return range(len(item)) if self.whole else range(len(item.prompt) - 1, len(item) - 1)

    def chosen(self, values: Tensor) -> Tensor:
        """(B, T) in the batch's layout -> (N,)"""
        return values[self.places][self.mask]

    def padded(self, values: Tensor) -> Tensor:
        """(N, ...) -> (B, T, ...) in the batch's layout, 0 where there is none."""
        places = self.mask.flatten().nonzero().squeeze(1)
        empty = values.new_zeros(self.mask.numel(), *values.shape[1:])
        return self.spread(empty.index_copy(0, places, values).reshape(*self.mask.shape, *values.shape[1:]))

    def spread(self, values: Tensor) -> Tensor:
        """(U, ...) values of the distinct items -> (B, ...), each where its item was drawn."""
        return values if len(self.items) == len(self.entries) else values[self.entries]


def by_chance(model: nn.Module) -> bool:
    """Whether a pass over the same item gives another result, by dropout."""
    if not model.training:
        return False
    config = cast(Any, model).config.to_dict() if hasattr(model, "config") else {}
    rates = [value for name, value in config.items() if name.endswith(("dropout", "pdrop", "_drop"))]
    rates += [module.p for module in model.modules() if isinstance(module, nn.Dropout)]
    return any(isinstance(rate, float) and rate > 0 for rate in rates)


def flat_logits(model: nn.Module, flat: Flat) -> Tensor:
    """(N, V) logits at the wanted tokens of the distinct items, one after the other.

    InputError for texts longer than the model's positions.
    """
    # The last token of an item predicts nothing: it is run only where its own logits are wanted.
    widths = [flat.positions(item).stop for item in flat.items]
    if hasattr(model, "config") and position_limit(model):
        check_positions(model, max(widths), "A prompt with its answer")
    device = flat.mask.device
    begun: Pairs = []
    length = 0 if flat.whole else shared_length(flat.items, _overhead(device))
    if length and not by_chance(model):
        begun = run_beginning(model, flat.items[0].prompt[:length])
    groups = _groups(model, [width - length * bool(begun) for width in widths], device)
    parts = [_run(model, [flat.items[i] for i in group], flat, begun) for group in groups]
    pieces: dict[int, Tensor] = {}
    for group, logits in zip(groups, parts, strict=True):
        pieces |= zip(group, torch.split(logits, [flat.counts[i] for i in group]), strict=True)
    if len(groups) == 1 and groups[0] == sorted(groups[0]):
        return parts[0]
    return torch.cat([pieces[i] for i in range(len(flat.items))])


def _groups(model: nn.Module, widths: Sequence[int], device: torch.device) -> list[list[int]]:
    if isinstance(model, FSDPModule):  # every process must make as many passes as the others
        return [list(range(len(widths)))]
    return by_length(widths, _overhead(device))


def _overhead(device: torch.device) -> int:
    return OVERHEAD.get(device.type, OVERHEAD["cuda"])


def pieces(model: nn.Module, keys: Sequence[Sequence[Item]], device: torch.device) -> list[list[int]]:
    """The numbers of a batch's rows in parts to be trained on one after the other; equal rows are in one part.

    keys: the items of each row, one a stream that is looked at.
    """
    distinct = list(dict.fromkeys(tuple(key) for key in keys))
    overhead, most = _overhead(device), MOST.get(device.type, MOST["cuda"])
    streams = [list(dict.fromkeys(stream)) for stream in zip(*distinct, strict=True)]
    begun = sum(shared_length(stream, overhead) for stream in streams)  # each part runs it once
    if begun and (by_chance(model) or not may_share(model)):
        begun = 0
    lengths = [sum(len(item) for item in key) - begun for key in distinct]
    part = {distinct[i]: n for n, group in enumerate(by_length(lengths, overhead, most)) for i in group}
    parts: dict[int, list[int]] = {}
    for row, key in enumerate(keys):
        parts.setdefault(part[tuple(key)], []).append(row)
    return [parts[n] for n in sorted(parts)]


def _run(model: nn.Module, items: Sequence[Item], flat: Flat, begun: Pairs) -> Tensor:
    """(n, V) logits at the wanted tokens of these items, in one pass after what they begin with."""
    width = max(flat.positions(item).stop for item in items)
    ids = torch.zeros(len(items), width, dtype=torch.long)
    wanted = torch.zeros_like(ids, dtype=torch.bool)
    for row, item in enumerate(items):
        positions = flat.positions(item)
        ids[row, : positions.stop] = torch.tensor((*item.prompt, *item.answer)[: positions.stop])
        wanted[row, positions.start : positions.stop] = True
    device = flat.mask.device
    start = begun[0][0].shape[2] if begun else 0
    ids, wanted = ids[:, start:].to(device), wanted[:, start:].to(device)
    places = torch.arange(start, width, device=device).expand_as(ids)

    def forward() -> Tensor:
        # No mask: what stands before a wanted token is its own row, and the padding after it is never looked at.
        before = {cache_keyword(cast(Any, model)): expanded(begun, len(items))} if begun else {}
        found: Tensor = model(input_ids=ids, position_ids=places, use_cache=False, **before).logits
        return found

    if model not in _WHOLE_HEAD:
        try:
            with _head_at(model, wanted) as ran:
                logits = forward()
            if ran and logits.shape[:2] == (1, int(wanted.sum())):
                return logits[0]
        except (RuntimeError, ValueError, IndexError):
            pass  # what the model itself is wrong about is raised below
    logits = forward()[wanted]
    _WHOLE_HEAD.add(model)
    return logits


@contextmanager
def _head_at(model: nn.Module, wanted: Tensor) -> Iterator[list[bool]]:
    """Within the block the output layer gets the states of the wanted tokens alone; yields what says that it ran so."""
    find: Callable[[], nn.Module | None] | None = getattr(model, "get_output_embeddings", None)
    head = find() if find is not None else None
    ran: list[bool] = []
    if head is None:
        yield ran
        return

    def choose(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if inputs[0].shape[:2] != wanted.shape:
            return None
        ran.append(True)
        return (inputs[0][wanted].unsqueeze(0), *inputs[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield ran
    finally:
        handle.remove()


def answer_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(B, T, V) logits that predict the answer tokens, 0 beyond an answer. Errors as of `flat_logits`."""
    flat = Flat(batch, repeat=by_chance(model))
    return flat.padded(flat_logits(model, flat))


def hidden_states(model: nn.Module, batch: Batch, layer: int, at: str = "block") -> Tensor:
    """(B, start + T, d) output of decoder layer number `layer`, counted from 0 (negative: from the last).

    at: "block" the layer; "mlp" or "attention" what that part of it gives; "mlp_in" what goes into its MLP's last matrix.
    """
    layers = decoder_layers(model)
    if not -len(layers) <= layer < len(layers):
        raise InputError(f"layer must be between 0 and {len(layers) - 1} for this model, got {layer}.")
    kept: list[Tensor] = []

    def keep(output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    part, before = (layers[layer], False) if at == "block" else part_of(layers[layer], at)
    handle = (
        part.register_forward_pre_hook(lambda _, inputs: keep(inputs))
        if before
        else part.register_forward_hook(lambda _, inputs, output: keep(output))
    )
    flat = Flat(batch, whole=True, repeat=by_chance(model))
    try:
        model(
            input_ids=batch.input_ids[flat.places],
            attention_mask=batch.attention_mask[flat.places],
            position_ids=batch.position_ids[flat.places],
            use_cache=False,
            logits_to_keep=1,
        )
    finally:
        handle.remove()
    return flat.spread(kept[0])
