"""Matching model: penalties on tokens that go on with a forbidden sequence, in the form of a causal model.

What has been said so far is all that it keeps, as the "keys" of one layer, so engines may split, batch and resume its rows as
those of any model. In an `Ensemble` its logits are penalties, at most 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, DynamicLayer


@dataclass(frozen=True)
class Forbidden:
    """What must not be said.

    sequences: token ids of each, at least one.
    partly: penalty, in nats, of a token on the way to one, times the share of it that is then said.
    alike: token ids that are too like forbidden ones, each penalised by `soft` nats wherever they stand.
    """

    sequences: tuple[tuple[int, ...], ...] = ()
    partly: float = 0.0
    alike: tuple[int, ...] = ()
    soft: float = 0.0


def penalties(said: Tensor, forbidden: Forbidden, vocabulary: int) -> Tensor:
    """(B, T, vocabulary) what is added to the logits after each token of said (B, T); ids below 0 are no tokens.

    A token that completes a sequence gets -inf. One after which m of its L tokens are said gets -partly m / L, of several the
    largest penalty. Those that are too like a forbidden one get -soft besides.
    """
    rows, width = said.shape
    found = said.new_zeros((rows, width, vocabulary), dtype=torch.float32)
    for sequence in dict.fromkeys(forbidden.sequences):
        begun = torch.ones_like(
            said, dtype=torch.bool
        )  # after this token, the first `done` of the sequence have been said
        for done, token in enumerate(sequence):
            size = -math.inf if done + 1 == len(sequence) else -forbidden.partly * (done + 1) / len(sequence)
            found[..., token] = torch.where(begun, found[..., token].clamp(max=size), found[..., token])
            before = torch.zeros_like(begun)
            before[:, 1:] = begun[:, :-1]
            if done == 0:
                before = torch.ones_like(begun)
            begun = before & (said == token)
    if forbidden.alike and forbidden.soft:
        found[..., list(forbidden.alike)] -= forbidden.soft
    return found


class Matching(nn.Module):
    """A model whose logits are `penalties`; beside `model`, whose vocabulary it has.

    forbidden: what is in force; `holding` sets it for a while.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.config, self.generation_config = model.config, model.generation_config
        self._embeddings = [model.get_input_embeddings()]  # in a list: no part of this one
        self.vocabulary = int(self._embeddings[0].weight.shape[0])
        self.forbidden = Forbidden()

    def get_input_embeddings(self) -> nn.Module:
        """The model's own."""
        found: nn.Module = self._embeddings[0]
        return found

    @contextmanager
    def holding(self, forbidden: Forbidden) -> Iterator[None]:
        """While inside, this is what must not be said."""
        before, self.forbidden = self.forbidden, forbidden
        try:
            yield
        finally:
            self.forbidden = before

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        logits_to_keep: int = 0,
        **_: Any,
    ) -> SimpleNamespace:
        """`.logits` (B, T, vocabulary), the last `logits_to_keep` alone where that is above 0."""
        width = input_ids.shape[1]
        said = input_ids
        if past_key_values is not None:
            layers: list[Any] = past_key_values.layers
            if not layers:
                layers.append(DynamicLayer())
            now = input_ids[:, None, :, None].float()  # exact up to 2^24
            keys, _values = layers[0].update(now, now)
            said = keys[:, 0, :, 0].round().long()
        if attention_mask is not None:
            said = said.masked_fill(attention_mask[:, : said.shape[1]] == 0, -1)
        keep = logits_to_keep or width
        longest = max((len(one) for one in self.forbidden.sequences), default=0)
        window = said[:, max(0, said.shape[1] - keep - longest) :]  # nothing before it can matter
        logits = penalties(window, self.forbidden, self.vocabulary)[:, -keep:]
        return SimpleNamespace(logits=logits)


def sequences_of(tokenizer: Any, phrases: Sequence[str]) -> tuple[tuple[int, ...], ...]:
    """Token ids of each phrase, as it may stand at the beginning of an answer and after a space; without doubles."""
    found = (
        tuple(int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"])
        for phrase in phrases
        for text in (phrase, f" {phrase}")
    )
    return tuple(dict.fromkeys(ids for ids in found if ids))
