"""Greedy answers of a model in memory."""

from __future__ import annotations

from collections.abc import Sequence

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler


def greedy_texts(loaded: LoadedModel, prompts: Sequence[Prompt], max_new_tokens: int = 200) -> list[str]:
    """The greedy answer to every prompt, of at most `max_new_tokens` tokens, in the order given; native engine."""
    decoding = Decoding(temperature=0.0, max_new_tokens=max_new_tokens)
    return [texts[0] for texts in texts_of(NativeSampler(loaded), prompts, 1, decoding, seed=0)]
