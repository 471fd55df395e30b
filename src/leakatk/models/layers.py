"""Layers of a model: its blocks, their parts, and the states that go through them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks: the module list with one entry a hidden layer."""
    count = model.config.num_hidden_layers  # type: ignore[union-attr]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not found:
        raise InputError(
            f"Cannot find the {count} decoder layers of {type(model).__name__}; use a method without hidden states."
        )
    return found[0]


# The parts of a decoder layer that hidden states are taken from: names of modules, and whether it is what goes in.
_PARTS = {
    "mlp": (("mlp", "feed_forward", "ffn"), False),
    "mlp_gate": (("mlp.gate_proj", "mlp.c_fc", "mlp.fc1", "mlp.dense_h_to_4h", "feed_forward.w1"), False),
    "mlp_in": (("mlp.down_proj", "mlp.c_proj", "mlp.fc2", "mlp.dense_4h_to_h", "feed_forward.w2"), True),
    "attention": (("self_attn", "attn", "attention", "self_attention"), False),
}


def part_of(layer: nn.Module, at: str) -> tuple[nn.Module, bool]:
    """The module of a decoder layer that `at` names, and whether it is what goes in that is meant. UnknownNameError for a
    name that does not exist, InputError for a layer without such a part.
    """
    if at not in _PARTS:
        raise UnknownNameError("part of a layer", at, ["block", *_PARTS])
    names, before = _PARTS[at]
    there = dict(layer.named_modules())
    for name in names:
        if name in there:
            return there[name], before
    raise InputError(f"Cannot find the {at} of {type(layer).__name__}; take at=block.")


def layer_at(model: nn.Module, layer: float) -> int:
    """The number of a layer. layer: its number, negative from the last; or a share of the depth, above 0 and below 1.

    InputError for a layer that the model does not have.

    >>> layer_at(model, 0.5), layer_at(model, -1)
    (1, 1)
    """
    count = len(decoder_layers(model))
    if 0 < layer < 1:
        return round(layer * (count - 1) + 1e-9)
    if layer != int(layer) or not -count <= layer < count:
        raise InputError(
            f"layer must be a share of the depth between 0 and 1, or a number between {-count} and {count - 1}, got {layer:g}."
        )
    return int(layer) % count


def module_at(model: nn.Module, layer: int, at: str = "block") -> tuple[nn.Module, bool]:
    """The module whose states are meant, and whether it is what goes into it. layer: a number; at: see `part_of`."""
    block = decoder_layers(model)[layer]
    return (block, False) if at == "block" else part_of(block, at)


@contextmanager
def listening(model: nn.Module, layer: int, at: str = "block") -> Iterator[list[Tensor]]:
    """A list to which each forward pass adds the states (B, T, d) of a layer. layer, at: as of `module_at`."""
    heard: list[Tensor] = []
    module, before = module_at(model, layer, at)

    def keep(states: Tensor | tuple[Tensor, ...]) -> None:
        heard.append(states[0] if isinstance(states, tuple) else states)

    handle = (
        module.register_forward_pre_hook(lambda _, given: keep(given))
        if before
        else module.register_forward_hook(lambda _, __, given: keep(given))
    )
    try:
        yield heard
    finally:
        handle.remove()


@torch.inference_mode()
def states_of(
    loaded: LoadedModel, sequences: Sequence[Sequence[int]], places: Sequence[tuple[int, str]]
) -> list[list[Tensor]]:
    """For each place the states (T, d), float32 on the CPU, of every token sequence.

    sequences: token ids, each at least one. They are run one by one, so that the states of one do not depend on the others.
    places: (layer, part) as of `module_at`. InputError for a sequence longer than the model's positions.
    """
    found: list[list[Tensor]] = [[] for _ in places]
    for ids in sequences:
        check_positions(loaded.model, len(ids), "A text whose states are read")
        with ExitStack() as stack:
            heard = [stack.enter_context(listening(loaded.model, layer, at)) for layer, at in places]
            loaded.model(input_ids=torch.tensor([list(ids)], device=loaded.device), use_cache=False, logits_to_keep=1)
        for own, states in zip(found, heard, strict=True):
            own.append(states[0][0].float().cpu().clone())
    return found
