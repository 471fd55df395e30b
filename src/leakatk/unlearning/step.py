"""What a loss sees of one training step: the model's logits and hidden states on named streams, and the reference's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.losses.preference import summed_logprob
from leakatk.unlearning.losses.token import IGNORE, answer_mask, label_logprobs
from leakatk.unlearning.streams import SIDE, Batch, Streams, answer_logits, hidden_states, whole_logits

CACHE_BYTES = 2 << 30  # whole-vocabulary reference logits and hidden states are cached up to this much


@dataclass(frozen=True)
class View:
    """The current model on one stream's batch. logits (B, T, V) with gradient; labels (B, T)."""

    logits: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Whole:
    """The current model on prompts and answers together: logits (B, L, V) after every token, with gradient.

    tokens (B, L): the tokens themselves, -100 at padding.  start: the column of the answers' first token.  What is made
    of them are labels (B, L) for the losses: -100 where a position does not count.
    """

    logits: Tensor
    tokens: Tensor
    start: int

    @property
    def answers(self) -> Tensor:
        """The answers' own tokens: each stands where the token after it is predicted."""
        columns = torch.arange(self.tokens.shape[1], device=self.tokens.device)
        return self.tokens.masked_fill(columns < self.start, IGNORE)

    @property
    def following(self) -> Tensor:
        """The token after each token: where any token of prompt or answer is predicted."""
        return _shifted(self.tokens).masked_fill(self.tokens == IGNORE, IGNORE)

    @property
    def following_answers(self) -> Tensor:
        """The answer token after each token: where the answers are predicted."""
        return _shifted(self.answers)


def _shifted(tokens: Tensor) -> Tensor:
    return torch.cat([tokens[:, 1:], torch.full_like(tokens[:, :1], IGNORE)], dim=1)


Values = Callable[[nn.Module, Batch], Tensor]


def _values(kind: str) -> Values:
    """ "logp" (B, T) label log-probabilities; "logits" (B, T, V); "whole" (B, L, V) logits after every token;
    "hidden:3" (B, L, d) after decoder layer 3."""
    if kind == "logp":
        return lambda model, batch: label_logprobs(answer_logits(model, batch), batch.labels)
    if kind == "logits":
        return answer_logits
    if kind == "whole":
        return whole_logits
    layer = int(kind.removeprefix("hidden:"))
    return lambda model, batch: hidden_states(model, batch, layer)


class Reference:
    """The frozen model a loss compares with, never a second copy in memory unless nothing else fits.

    Before training, while the weights still are the reference, `collect` finds out which values the losses ask for and
    keeps them for every row that training will draw: label log-probabilities always, logits and hidden states up to
    CACHE_BYTES. What is too big comes from the LoRA adapter switched off, or else from one frozen copy.
    """

    def __init__(
        self, streams: Streams, device: torch.device, autocast: Callable[[], AbstractContextManager[object]]
    ) -> None:
        self._streams, self._device, self._autocast = streams, device, autocast
        self._asked: dict[tuple[str, str], int] = {}  # (stream, kind) -> bytes a row
        self._cache: dict[tuple[str, str], dict[int, Tensor]] = {}
        self._model: nn.Module | None = None
        self._off: Callable[[], AbstractContextManager[object]] = nullcontext

    def values(self, kind: str, stream: str, batch: Batch) -> Tensor:
        cached = self._cache.get((stream, kind))
        if cached is not None:
            return _pad(kind, [cached[row] for row in batch.rows], batch)
        if self._model is None:
            raise RuntimeError("The reference was asked for a value that was not collected before training.")
        with torch.no_grad(), self._off(), self._autocast():
            values = _values(kind)(self._model, batch)
        self._asked[stream, kind] = values[0].numel() * values.element_size()
        return values

    def collect(
        self,
        model: nn.Module,
        probe: Callable[[], object],
        rows: Mapping[str, Sequence[int]],
        *,
        batch_size: int,
        copy_model: bool,
    ) -> None:
        """model: the reference now. probe: runs the losses once. rows: what training will draw, by side.

        copy_model: when something does not fit in the cache, keep a frozen copy (otherwise call `live`).
        """
        self._model = model
        probe()
        for (stream, kind), size in self._asked.items():
            wanted = sorted(set(rows[SIDE[stream]]))
            if kind == "logp" or size * len(wanted) <= CACHE_BYTES:
                self._cache[stream, kind] = self._compute(model, kind, stream, wanted, batch_size)
        self._model = copy.deepcopy(model).requires_grad_(False) if copy_model and not self.complete else None

    @property
    def complete(self) -> bool:
        """Everything the losses ask for is cached."""
        return set(self._asked) <= set(self._cache)

    def live(self, model: nn.Module, adapter_off: Callable[[], AbstractContextManager[object]]) -> None:
        """Take what is not cached from `model` with its adapter off."""
        self._model, self._off = model, adapter_off

    def _compute(self, model: nn.Module, kind: str, stream: str, rows: list[int], size: int) -> dict[int, Tensor]:
        items = self._streams.items(stream)
        rows = sorted(rows, key=lambda row: (len(items[row].answer), len(items[row].prompt), row))
        kept: dict[int, Tensor] = {}
        for i in range(0, len(rows), size):
            batch = self._streams.batch(stream, rows[i : i + size], self._device)
            with torch.no_grad(), self._autocast():
                values = _values(kind)(model, batch)
            for j, row in enumerate(batch.rows):
                kept[row] = values[j][_own(kind, batch, j)].cpu()
        return kept


def _from_the_prompt(kind: str) -> bool:
    return kind == "whole" or kind.startswith("hidden")


def _own(kind: str, batch: Batch, j: int) -> slice:
    """The columns of row j that are not padding."""
    answer = int(answer_mask(batch.labels[j]).sum())
    if _from_the_prompt(kind):
        return slice(int((batch.attention_mask[j] == 0).long().argmin()), batch.start + answer)
    return slice(0, answer)


def _pad(kind: str, values: list[Tensor], batch: Batch) -> Tensor:
    length = batch.input_ids.shape[1] if _from_the_prompt(kind) else batch.labels.shape[1]
    padded = torch.zeros(len(values), length, *values[0].shape[1:], dtype=values[0].dtype)
    for j, value in enumerate(values):
        own = _own(kind, batch, j)
        padded[j, own] = value
    return padded.to(batch.labels.device)


@dataclass
class Step:
    """One micro-batch. rows: the rows drawn, by side ("forget", "retain").

    state: numbers a method carries from step to step (a dual weight); they are part of a checkpoint.
    average: mean of a scalar over processes.
    """

    model: nn.Module
    streams: Streams
    rows: Mapping[str, Sequence[int]]
    reference: Reference
    device: torch.device
    number: int = 0
    seed: int = 0
    state: dict[str, float] = field(default_factory=dict)
    extra: Mapping[str, Mapping[int, Tensor]] = field(default_factory=dict)
    average: Callable[[Tensor], Tensor] = lambda value: value

    def __post_init__(self) -> None:
        self._batches: dict[str, Batch] = {}
        self._views: dict[str, View] = {}

    def batch(self, stream: str) -> Batch:
        if stream not in self._batches:
            rows = self.rows.get(SIDE[stream], ())
            if not rows:
                raise InputError(f"This method needs a {SIDE[stream]} set; give at least one {SIDE[stream]} prompt.")
            self._batches[stream] = self.streams.batch(stream, rows, self.device)
        return self._batches[stream]

    def view(self, stream: str) -> View:
        """The model's logits at the answers, with gradient; one forward a stream and step."""
        if stream not in self._views:
            batch = self.batch(stream)
            self._views[stream] = View(answer_logits(self.model, batch), batch.labels)
        return self._views[stream]

    def whole(self, stream: str) -> Whole:
        """The model's logits after every token of prompt and answer, with gradient."""
        batch = self.batch(stream)
        tokens = batch.input_ids.masked_fill(batch.attention_mask == 0, IGNORE)
        return Whole(whole_logits(self.model, batch), tokens, batch.start)

    def logprob(self, stream: str) -> Tensor:
        """(B,) summed log-probability of the answers under the model, with gradient."""
        view = self.view(stream)
        return summed_logprob(view.logits, view.labels)

    def reference_logprob(self, stream: str) -> Tensor:
        """(B,) the same under the reference."""
        return self.reference.values("logp", stream, self.batch(stream)).sum(-1)

    def reference_logits(self, stream: str) -> Tensor:
        """(B, T, V)"""
        return self.reference.values("logits", stream, self.batch(stream))

    def reference_whole(self, stream: str) -> Tensor:
        """(B, L, V) logits after every token"""
        return self.reference.values("whole", stream, self.batch(stream))

    def hidden(self, stream: str, layer: int) -> Tensor:
        """(B, L, d) output of decoder layer `layer` (from 0), with gradient."""
        return hidden_states(self.model, self.batch(stream), layer)

    def reference_hidden(self, stream: str, layer: int) -> Tensor:
        return self.reference.values(f"hidden:{layer}", stream, self.batch(stream))

    def positions(self, stream: str, which: str) -> Tensor:
        """(B, L) bool for hidden states: "answer" (the answers' own tokens) or "all" (every token but padding)."""
        batch = self.batch(stream)
        mask = batch.attention_mask.bool()
        if which == "all":
            return mask
        if which != "answer":
            raise InputError(f"positions must be answer or all, got {which!r}.")
        columns = torch.arange(mask.shape[1], device=mask.device) >= batch.start
        return mask & columns

    def stored(self, name: str, stream: str) -> Tensor:
        """(B, T, ...) values a method prepared before training, by row of the stream."""
        batch = self.batch(stream)
        return _pad(name, [self.extra[name][row] for row in batch.rows], batch)


@contextmanager
def swapped_weights(model: nn.Module, weights: Mapping[str, Tensor] | None) -> Iterator[None]:
    """Within the block the model holds `weights` (a state dict); afterwards its own again. None does nothing."""
    if weights is None:
        yield
        return
    own = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
    model.load_state_dict(dict(weights))
    try:
        yield
    finally:
        model.load_state_dict(own)
