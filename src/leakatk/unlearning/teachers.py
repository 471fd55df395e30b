"""Teachers, the frozen models that a loss compares with: the start of a run, models that a stage kept, models that were given."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor, nn

from leakatk.errors import UnknownNameError
from leakatk.models.weights import Park, put, swapped, weights_of
from leakatk.prompts import Prompt
from leakatk.unlearning.losses.chunked import in_chunks
from leakatk.unlearning.losses.token import label_logprobs
from leakatk.unlearning.passes import Flat, flat_logits, hidden_states
from leakatk.unlearning.streams import STREAMS, Batch, Item

CACHE_BYTES = 2 << 30  # whole-vocabulary logits and hidden states of one kind are cached up to this much

Key = tuple[str, str, str]  # teacher, stream, kind of value


class Rows(Protocol):
    """The part of `Streams` that steps and teachers need."""

    def items(self, stream: str) -> list[Item]: ...

    def batch(self, stream: str, rows: Sequence[int], device: torch.device) -> Batch: ...

    def prompt(self, stream: str, row: int) -> Prompt: ...

    def margin(self, stream: str, row: int) -> float: ...

    def text(self, ids: Sequence[int]) -> str: ...


def _rows(model: nn.Module, kind: str, batch: Batch, flat: Flat) -> list[Tensor]:
    """A model's values of each distinct item, without padding: "logp" (t,) label log-probabilities; "logits" (t, V); "whole"
    (l, V) logits after every token; "hidden:block:3" (l, d) of decoder layer 3 (`hidden_states`)."""
    if kind.startswith("hidden"):
        _, at, layer = kind.split(":")
        return list(torch.split(flat.chosen(hidden_states(model, batch, int(layer), at)), flat.counts))
    logits = flat_logits(model, flat)
    if kind == "logp":
        logits = in_chunks(label_logprobs, logits, flat.chosen(batch.labels))
    return list(torch.split(logits, flat.counts))


class Teachers:
    """Values of frozen models on every row that training draws, never a second model in memory unless nothing else fits.

    Before training `collect` finds out which values the losses ask of which teacher, puts each teacher's weights into the
    model for a moment and keeps the values: label log-probabilities always, logits and hidden states up to CACHE_BYTES
    a kind. What is too big comes from the LoRA adapter switched off (`live`), or else from one frozen copy, which takes on
    the weights of the teacher that is asked.
    """

    def __init__(
        self, streams: Rows, device: torch.device, autocast: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._streams, self._device, self._autocast = streams, device, autocast
        self._asked: dict[Key, int] = {}  # bytes a token
        self._cache: dict[Key, dict[int, Tensor]] = {}
        self._any: nn.Module | None = None  # stands in for every teacher while we find out what is asked
        self._live: tuple[nn.Module, Callable[[], AbstractContextManager[object]]] | None = None
        self._spare: nn.Module | None = None
        self._weights: Mapping[str, Mapping[str, Tensor] | None] = {}
        self._others: Mapping[str, Callable[[], nn.Module]] = {}
        self._loaded: dict[str, nn.Module] = {}
        self._holds = ""  # the teacher whose weights the spare copy has

    def values(self, teacher: str, kind: str, stream: str, batch: Batch) -> Tensor:
        """A teacher's values on a batch, without gradient: (B, T, ...) where answers are predicted, (B, L, ...) of whole texts."""
        flat = Flat(batch, whole=_of_whole(kind))
        return flat.padded(self.flat(teacher, kind, stream, flat))

    def flat(self, teacher: str, kind: str, stream: str, flat: Flat) -> Tensor:
        """(N, ...) the same of the distinct items, one after the other."""
        key = (teacher, stream, kind)
        batch, device = flat.batch, flat.batch.labels.device
        if cached := self._cache.get(key):
            return torch.cat([cached[batch.rows[place]] for place in flat.places.tolist()]).to(device)
        model, context = self._model(teacher)
        with torch.no_grad(), context, self._autocast():
            values = torch.cat(_rows(model, kind, batch, flat))
        self._asked[key] = values.element_size() * (values[0].numel() if len(values) else 0)
        return values

    def _model(self, teacher: str) -> tuple[nn.Module, AbstractContextManager[object]]:
        if teacher in self._others:
            if teacher not in self._loaded:
                self._loaded[teacher] = self._others[teacher]().requires_grad_(False).eval()
            return self._loaded[teacher], nullcontext()
        if self._any is not None:
            return self._any, nullcontext()
        if self._live is not None and self._weights.get(teacher) is None:
            return self._live[0], self._live[1]()
        if self._spare is None:
            raise RuntimeError("A teacher was asked for a value that was not collected before training.")
        if self._holds != teacher:
            put(self._spare, self._weights[teacher] or {}, partly=True)
            self._holds = teacher
        return self._spare, nullcontext()

    def collect(
        self,
        model: nn.Module,
        probe: Callable[[], object],
        rows: Mapping[str, Sequence[int]],
        *,
        batch_size: int,
        weights: Mapping[str, Mapping[str, Tensor] | None],
        adapter: bool = False,
        park: Park | None = None,
        others: Mapping[str, Callable[[], nn.Module]] | None = None,
    ) -> None:
        """Find out what the losses ask, and keep it.

        model: the model that is trained, before its first step.  probe: runs the losses once.  rows: what training will
        draw, by set.  weights: of each teacher, by parameter; None: those that the model has now.  adapter: the weights of
        the moment stay, under an adapter; call `live` with it.  park: where the model's own weights are meanwhile.  others: how to
        load teachers that are models of their own; one stays in memory only when something of it does not fit.
        """
        park = park or weights_of
        self._weights, self._others = weights, others or {}
        self._any = model
        probe()
        self._any = None
        for teacher in dict.fromkeys(teacher for teacher, _, _ in self._asked):
            if teacher in self._others:
                self._fill(teacher, self._model(teacher)[0], rows, batch_size)
                if teacher not in self._left():
                    del self._loaded[teacher]
                continue
            if teacher not in weights:
                raise UnknownNameError("kept model", teacher, [*weights, *self._others])
            with swapped(model, weights[teacher], park):
                self._fill(teacher, model, rows, batch_size)
        left = sorted(self._left() - set(self._others))
        if any(not adapter or weights[teacher] is not None for teacher in left):
            now = [teacher for teacher in left if weights[teacher] is None]
            if now and len(left) > 1:
                # The copy takes on other weights and must find these again.
                self._weights = {**weights, **dict.fromkeys(now, park(model))}
            self._spare = copy.deepcopy(model).requires_grad_(False)
            self._holds = now[0] if now else ""

    def _fill(self, teacher: str, model: nn.Module, rows: Mapping[str, Sequence[int]], batch_size: int) -> None:
        """Compute and keep what fits of a teacher, whose weights `model` has now."""
        for (whose, stream, kind), size in self._asked.items():
            wanted = sorted(set(rows[STREAMS[stream].of]))
            items = [self._streams.items(stream)[row] for row in wanted] if whose == teacher else []
            tokens = sum(len(item) if _of_whole(kind) else len(item.answer) for item in items)
            if whose == teacher and (kind == "logp" or size * tokens <= CACHE_BYTES):
                self._cache[whose, stream, kind] = self._compute(model, kind, stream, wanted, batch_size)

    def _left(self) -> set[str]:
        """Teachers of whom something does not fit."""
        return {teacher for teacher, _, _ in set(self._asked) - set(self._cache)}

    def live(self, model: nn.Module, adapter_off: Callable[[], AbstractContextManager[object]]) -> None:
        """Take what is not cached of the weights before training from `model` with its adapter off."""
        self._live = (model, adapter_off)

    @property
    def complete(self) -> bool:
        """Everything the losses ask for is cached."""
        return set(self._asked) <= set(self._cache)

    @property
    def held_bytes(self) -> int:
        """Bytes of whole models that are held besides the one that is trained."""
        held = [*self._loaded.values(), *([self._spare] if self._spare is not None else [])]
        return sum(p.numel() * p.element_size() for model in held for p in model.parameters())

    @property
    def asked(self) -> frozenset[str]:
        """The names of the teachers that were asked so far."""
        return frozenset(teacher for teacher, _, _ in self._asked)

    def stand_in(self, model: nn.Module, others: Mapping[str, Callable[[], nn.Module]]) -> None:
        """Let `model` answer for every teacher but the others, to find out who is asked."""
        self._any, self._others = model, others

    def _compute(self, model: nn.Module, kind: str, stream: str, rows: list[int], size: int) -> dict[int, Tensor]:
        items = self._streams.items(stream)
        rows = sorted(rows, key=lambda row: (len(items[row].answer), len(items[row].prompt), row))
        kept: dict[int, Tensor] = {}
        for i in range(0, len(rows), size):
            batch = self._streams.batch(stream, rows[i : i + size], self._device)
            flat = Flat(batch, whole=_of_whole(kind))
            with torch.no_grad(), self._autocast():
                found = _rows(model, kind, batch, flat)
            for row, entry in zip(batch.rows, flat.entries.tolist(), strict=True):
                kept[row] = found[entry].cpu().clone()  # a part of a tensor would hold all of it
        return kept


def _of_whole(kind: str) -> bool:
    """Whether values stand after every token of prompt and answer."""
    return kind == "whole" or kind.startswith("hidden")
