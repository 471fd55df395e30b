"""Activations of two models on the same tokens, copied from one into the other.

A place in a model is a layer and a part of it: "state" (what the layer gives), "attention" and "mlp" (what these give), and
"coefficients" (what goes into the last matrix of the MLP).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.models.checks import check_positions
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.unlearning.passes import decoder_layers, part_of

PARTS = {"state": "block", "attention": "attention", "mlp": "mlp", "coefficients": "mlp_in"}
ROWS = 16  # sequences of a pass
Place = tuple[int, str]


class Texts(NamedTuple):
    """Token rows of one pass, padded on the right: what is causal never looks at the padding.

    ids: (B, T).  wanted: (B, T), true at the positions whose logits or states are looked at.
    """

    ids: Tensor
    wanted: Tensor


def same_shape(who: str, loaded: LoadedModel, path: str) -> LoadedModel:
    """Another model on the same device, in the same precision and with the same template.

    InputError where it has other layers, another width or another vocabulary.
    """
    dtype = next(loaded.model.parameters()).dtype
    short = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}.get(dtype, "auto")
    other = load_model(path, device=str(loaded.device), dtype=short, template=loaded.template, load_in=loaded.load_in)
    mine, theirs = (model.model.config.get_text_config() for model in (loaded, other))
    for field in ("num_hidden_layers", "hidden_size", "vocab_size"):
        if (a := getattr(mine, field)) != (b := getattr(theirs, field)):
            raise InputError(
                f"{who} copies between models of one shape, but {field} is {a} in {loaded.name} and {b} in {path}; "
                "give the model that was unlearned."
            )
    if other.tokenizer.get_vocab() != loaded.tokenizer.get_vocab():
        raise InputError(f"{who} needs models of one vocabulary, and {path} has another than {loaded.name}.")
    return other


def texts(loaded: LoadedModel, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Texts:
    """(prompt ids, wanted position numbers) of each row, padded. InputError for more tokens than the model has positions."""
    width = max(len(ids) for ids, _ in rows)
    check_positions(loaded.model, width, "A prompt with its answer")
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    wanted = torch.zeros(len(rows), width, dtype=torch.bool)
    for row, (tokens, positions) in enumerate(rows):
        ids[row, : len(tokens)] = torch.tensor(list(tokens))
        wanted[row, list(positions)] = True
    return Texts(ids.to(loaded.device), wanted.to(loaded.device))


@torch.inference_mode()
def logits(loaded: LoadedModel, given: Texts) -> Tensor:
    """(N, V) float32 logits at the wanted positions, row after row."""
    places = torch.arange(given.ids.shape[1], device=given.ids.device).expand_as(given.ids)
    found: Tensor = loaded.model(input_ids=given.ids, position_ids=places, use_cache=False).logits
    return found[given.wanted].float()


def module_at(model: nn.Module, place: Place) -> tuple[nn.Module, bool]:
    """The module of a place, and whether it is what goes in that is meant."""
    layer, part = place
    block = decoder_layers(model)[layer]
    return (block, False) if part == "state" else part_of(block, PARTS[part])


@contextmanager
def taken(model: nn.Module, places: Sequence[Place]) -> Iterator[dict[Place, Tensor]]:
    """Within the block: place -> (B, T, width) activation of the last pass."""
    found: dict[Place, Tensor] = {}

    def keep(place: Place) -> Any:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[place] = inputs[0].detach()

        def after(_: nn.Module, __: Any, output: Any) -> None:
            found[place] = (output[0] if isinstance(output, tuple) else output).detach()

        module, inputs = module_at(model, place)
        return module.register_forward_pre_hook(before) if inputs else module.register_forward_hook(after)

    handles = [keep(place) for place in places]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def put(model: nn.Module, values: Mapping[Place, Tensor], where: Tensor | None = None) -> Iterator[None]:
    """Within the block each place has these values, (B, T, width), whatever was computed there.

    where: (B, T), the positions that are copied; None is all of them.
    """

    def changed(own: Tensor, new: Tensor) -> Tensor:
        new = new.to(own)
        return new if where is None else torch.where(where[..., None], new, own)

    def copy(place: Place, value: Tensor) -> Any:
        def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (changed(inputs[0], value), *inputs[1:])

        def after(_: nn.Module, __: Any, output: Any) -> Any:
            if isinstance(output, tuple):
                return (changed(output[0], value), *output[1:])
            return changed(output, value)

        module, inputs = module_at(model, place)
        return module.register_forward_pre_hook(before) if inputs else module.register_forward_hook(after)

    handles = [copy(place, value) for place, value in values.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def other_values(model: nn.Module, other: nn.Module, layers: Sequence[int]) -> Iterator[None]:
    """Within the block the last MLP matrix of these layers is the other model's; no weight is touched."""
    handles = []
    for layer in layers:
        (mine, _), (theirs, _) = (module_at(one, (layer, "coefficients")) for one in (model, other))
        handles.append(mine.register_forward_hook(lambda _m, inputs, _o, theirs=theirs: theirs(inputs[0])))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def batches(count: int) -> Iterator[range]:
    """Numbers of rows, a pass at a time."""
    for start in range(0, count, ROWS):
        yield range(start, min(start + ROWS, count))
