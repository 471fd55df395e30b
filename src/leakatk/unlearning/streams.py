"""Streams of questions and answers as tensors: named streams of items, padded batches, the model's logits at the answers."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from leakatk.errors import InputError, UnknownNameError
from leakatk.models.checks import check_positions, position_limit
from leakatk.prompts import Known, Prompt, Query
from leakatk.registry import Registry
from leakatk.unlearning.losses import targets
from leakatk.unlearning.losses.token import IGNORE

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from leakatk.models.template import Template


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


# The parts of a decoder layer that hidden states are taken from: names of modules, and whether it is what goes in.
_PARTS = {
    "mlp": (("mlp", "feed_forward", "ffn"), False),
    "mlp_in": (("mlp.down_proj", "mlp.c_proj", "mlp.fc2", "mlp.dense_4h_to_h", "feed_forward.w2"), True),
    "attention": (("self_attn", "attn", "attention", "self_attention"), False),
}


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


# What is asked and the answer; or a passage by itself, every token of which counts but the first.
Pair = tuple[str | Query, str] | str


@dataclass(frozen=True)
class Given:
    """What a stream may be made from, besides the prompts whose rows it has."""

    seed: int
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    refusals: Sequence[str] = targets.REFUSALS
    alternates: Mapping[str, str] = field(default_factory=dict)
    known: Known = field(default_factory=Known)


@dataclass(frozen=True)
class Stream:
    """A query and an answer for each prompt of one set. of: that set; a batch holds the rows drawn from it."""

    name: str
    of: str
    pairs: Callable[[Sequence[Prompt], Given], Sequence[Pair]]

    @property
    def side(self) -> str:
        """Whose gradient a loss on it joins: "forget" or "retain"."""
        return "forget" if self.of == "forget" else "retain"


STREAMS: Registry[Stream] = Registry("stream")
# The sets that rows are drawn from. Those besides forget and retain come from `Known`, and are drawn as the retain set is.
SETS = ("forget", "retain", "holdout", "refused", "text")


def stream(name: str, *, of: str) -> Callable[[Callable[..., Sequence[Pair]]], Callable[..., Sequence[Pair]]]:
    """Register a stream: a function of the prompts of one set and `Given` that gives a query and an answer, or a passage, for
    each.
    """
    if of not in SETS:
        raise ValueError(f"A stream is of {', '.join(SETS)}, got {of!r}.")

    def add(pairs: Callable[..., Sequence[Pair]]) -> Callable[..., Sequence[Pair]]:
        STREAMS.add(name, Stream(name, of, pairs))
        return pairs

    return add


def _answered(prompts: Sequence[Prompt], answers: Sequence[str]) -> list[Pair]:
    return [(prompt.question, answer) for prompt, answer in zip(prompts, answers, strict=True)]


@stream("forget", of="forget")
def forget_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, y_f)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("refusal", of="forget")
def forget_refusals(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, a refusal)"""
    return _answered(prompts, targets.refusals(prompts, given.seed, given.refusals))


@stream("random", of="forget")
def random_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, another forget prompt's answer)"""
    return _answered(prompts, targets.random_answers(prompts, [p.answer for p in given.forget], given.seed))


DRAWS = 5  # streams of random answers that differ


def _drawn(number: int) -> Callable[[Sequence[Prompt], Given], list[Pair]]:
    def several_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
        """(x_f, one of several other forget prompts' answers)"""
        drawn = targets.several_answers(prompts, [p.answer for p in given.forget], DRAWS, given.seed)
        return _answered(prompts, [answers[number] for answers in drawn])

    return several_answers


for _number in range(DRAWS):
    stream(f"random_{_number + 1}", of="forget")(_drawn(_number))


@stream("alternate", of="forget")
def alternate_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_f, the supplied alternate answer)"""
    return _answered(prompts, targets.alternates(prompts, given.alternates))


@stream("retain", of="retain")
def retain_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_r, y_r)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("retain_refusal", of="retain")
def retain_refusals(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x_r, a refusal)"""
    return _answered(prompts, targets.refusals(prompts, given.seed, given.refusals))


@stream("holdout", of="holdout")
def holdout_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x, y) of prompts that no model was trained on"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("refused", of="refused")
def refused_answers(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(x, what stands as its answer) of prompts that the model refuses (`Known.refused`)"""
    return _answered(prompts, [prompt.answer for prompt in prompts])


@stream("text", of="text")
def general_text(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """A passage of `Known.text`, without a question"""
    return [prompt.answer for prompt in prompts]


class Streams:
    """The sets of prompts, tokenised, and the streams made of them when first asked for."""

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
        known: Known | None = None,
    ) -> None:
        known = known or Known()
        self._given = Given(seed, forget, retain, refusals, alternates or {}, known)
        text = [Prompt(f"text {i}", "", passage) for i, passage in enumerate(known.text)]
        self._sets = {
            "forget": list(forget), "retain": list(retain), "holdout": list(known.holdout), "refused": list(known.refused),
            "text": text,
        }  # fmt: skip
        self._tokenizer, self._template, self._max = tokenizer, template, max_tokens
        self._items: dict[str, list[Item]] = {}
        self._prompt_ids: dict[str | Query, tuple[int, ...]] = {}

    def size(self, of: str) -> int:
        """How many prompts a set has."""
        return len(self._sets[of])

    def items(self, stream: str) -> list[Item]:
        """The items of a stream, one a prompt of its set. UnknownNameError for a stream that does not exist."""
        if stream not in self._items:
            made = STREAMS[stream]
            pairs = made.pairs(self._sets[made.of], self._given)
            self._items[stream] = [
                self._passage(pair) if isinstance(pair, str) else self._item(*pair) for pair in pairs
            ]
        return self._items[stream]

    def _passage(self, text: str) -> Item:
        ids = [int(i) for i in self._tokenizer(text)["input_ids"]]
        if len(ids) < 2:
            raise InputError(f"The passage {text!r:.60} has fewer than two tokens; leave it out.")
        return Item(tuple(ids[:1]), tuple(ids[1:])[: self._max])

    def _item(self, question: str | Query, answer: str) -> Item:
        seam = self._template.pair(self._tokenizer, question, answer)
        # Items of one question share its ids.
        prompt = self._prompt_ids.setdefault(question, tuple(seam.prompt))
        return Item(prompt, tuple(seam.answer)[: self._max])

    def batch(self, stream: str, rows: Sequence[int], device: torch.device) -> Batch:
        """Those rows of a stream, padded."""
        items = self.items(stream)
        return collate([items[row] for row in rows], rows, device)


def drawn_rows(size: int, count: int, start: int, seed: int | str, weights: Sequence[float] | None = None) -> list[int]:
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
