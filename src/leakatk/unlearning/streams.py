"""Questions and answers as tensors: named streams of items, padded batches, the model's logits at the answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.models.checks import check_positions, position_limit
from leakatk.prompts import Prompt
from leakatk.unlearning.losses import targets
from leakatk.unlearning.losses.token import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from leakatk.models.template import Template

# Which rows a stream's batch holds: those drawn from the forget set or those drawn from the retain set.
SIDE: Mapping[str, str] = {
    "forget": "forget",  # (x_f, y_f)
    "refusal": "forget",  # (x_f, a refusal)
    "random": "forget",  # (x_f, another forget prompt's answer)
    "alternate": "forget",  # (x_f, the supplied alternate answer)
    "retain": "retain",  # (x_r, y_r)
    "retain_refusal": "retain",  # (x_r, a refusal)
}


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt and one answer, as token ids; the answer carries the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left and answers on the right, so every answer starts at column `start`.

    input_ids, attention_mask, position_ids: (B, start + T).  labels: (B, T), -100 beyond an answer's end.
    rows: the items' numbers in their stream.
    """

    rows: tuple[int, ...]
    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor
    start: int


def collate(items: Sequence[Item], rows: Sequence[int], device: torch.device) -> Batch:
    start = max(len(item.prompt) for item in items)
    length = max(len(item.answer) for item in items)
    ids = torch.zeros(len(items), start + length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(items), length), IGNORE)
    for i, item in enumerate(items):
        first, end = start - len(item.prompt), start + len(item.answer)
        ids[i, first:end] = torch.tensor(item.prompt + item.answer)
        mask[i, first:end] = 1
        labels[i, : len(item.answer)] = torch.tensor(item.answer)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    return Batch(tuple(rows), ids.to(device), mask.to(device), positions.to(device), labels.to(device), start)


def answer_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(B, T, V) logits that predict the answer tokens. The output layer runs at these positions only.

    InputError for texts longer than the model's positions.
    """
    # The last token predicts nothing.
    return _logits(model, batch, batch.input_ids.shape[1] - 1, batch.labels.shape[1])


def whole_logits(model: nn.Module, batch: Batch) -> Tensor:
    """(B, start + T, V) logits after every token of prompt and answer; without meaning at padding. Errors as above."""
    length = batch.input_ids.shape[1]
    return _logits(model, batch, length, length)


def _logits(model: nn.Module, batch: Batch, columns: int, kept: int) -> Tensor:
    """(B, kept, V): the model on the first columns, its output at the last of these."""
    if hasattr(model, "config"):
        longest = int(batch.attention_mask[:, :columns].sum(1).max()) if position_limit(model) else 0
        check_positions(model, longest, "A prompt with its answer")
    output = model(
        input_ids=batch.input_ids[:, :columns],
        attention_mask=batch.attention_mask[:, :columns],
        position_ids=batch.position_ids[:, :columns],
        use_cache=False,
        logits_to_keep=kept,
    )
    logits: Tensor = output.logits
    return logits


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """The transformer blocks: the module list with one entry a hidden layer."""
    count = model.config.num_hidden_layers  # type: ignore[union-attr]
    found = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not found:
        raise InputError(
            f"Cannot find the {count} decoder layers of {type(model).__name__}; use a method without hidden states."
        )
    return found[0]


def hidden_states(model: nn.Module, batch: Batch, layer: int) -> Tensor:
    """(B, start + T, d) output of decoder layer number `layer`, counted from 0 (negative: from the last)."""
    layers = decoder_layers(model)
    if not -len(layers) <= layer < len(layers):
        raise InputError(f"layer must be between 0 and {len(layers) - 1} for this model, got {layer}.")
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
        kept.append(output[0] if isinstance(output, tuple) else output)

    handle = layers[layer].register_forward_hook(keep)
    try:
        model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=1,
        )
    finally:
        handle.remove()
    return kept[0]


class Streams:
    """The forget and retain sets, tokenised, and the streams derived from them, made when first asked for."""

    def __init__(
        self,
        forget: Sequence[Prompt],
        retain: Sequence[Prompt],
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        seed: int,
        refusals: Sequence[str] = targets.REFUSALS,
        alternates: Mapping[str, str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        self._sets = {"forget": list(forget), "retain": list(retain)}
        self._tokenizer, self._template, self._max = tokenizer, template, max_tokens
        pool = [prompt.answer for prompt in forget]
        self._answers: dict[str, Callable[[list[Prompt]], list[str]]] = {
            "forget": lambda prompts: [p.answer for p in prompts],
            "retain": lambda prompts: [p.answer for p in prompts],
            "refusal": lambda prompts: targets.refusals(prompts, seed, refusals),
            "retain_refusal": lambda prompts: targets.refusals(prompts, seed, refusals),
            "random": lambda prompts: targets.random_answers(prompts, pool, seed),
            "alternate": lambda prompts: targets.alternates(prompts, alternates or {}),
        }
        self._items: dict[str, list[Item]] = {}
        self._prompt_ids: dict[str, tuple[int, ...]] = {}

    def size(self, side: str) -> int:
        return len(self._sets[side])

    def items(self, stream: str) -> list[Item]:
        if stream not in self._items:
            prompts = self._sets[SIDE[stream]]
            answers = self._answers[stream](prompts)
            self._items[stream] = [self._item(p.question, a) for p, a in zip(prompts, answers, strict=True)]
        return self._items[stream]

    def _item(self, question: str, answer: str) -> Item:
        seam = self._template.pair(self._tokenizer, question, answer)
        # Items of one question share its ids.
        prompt = self._prompt_ids.setdefault(question, tuple(seam.prompt))
        return Item(prompt, tuple(seam.answer)[: self._max])

    def batch(self, stream: str, rows: Sequence[int], device: torch.device) -> Batch:
        items = self.items(stream)
        return collate([items[row] for row in rows], rows, device)


def drawn_rows(size: int, count: int, start: int, seed: int, weights: Sequence[float] | None = None) -> list[int]:
    """Rows number start .. start+count of an endless sequence that depends on (size, seed) alone.

    Without weights the sequence is shuffled epochs, each row once an epoch; with weights, independent draws.
    """
    if weights is not None:
        return [random.Random(f"{seed}/{i}").choices(range(size), weights)[0] for i in range(start, start + count)]
    rows: list[int] = []
    for epoch in range(start // size, (start + count - 1) // size + 1):
        order = list(range(size))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        rows += order[max(start - epoch * size, 0) : min(start + count - epoch * size, size)]
    return rows
