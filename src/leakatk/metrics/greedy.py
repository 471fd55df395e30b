"""Greedy answers, as the published tables use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts

Greedy = Callable[[LoadedModel, Sequence[Prompt]], Sequence[str]]
native_greedy = greedy_texts
