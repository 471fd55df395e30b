"""Greedy answers, as the published tables use them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler

Greedy = Callable[[LoadedModel, Sequence[Prompt]], Sequence[str]]


def native_greedy(loaded: LoadedModel, prompts: Sequence[Prompt], max_new_tokens: int = 200) -> list[str]:
    """Greedy answers of at most `max_new_tokens` tokens, in the order of the prompts, from the native engine."""
    requests = [Request(prompt, (0,)) for prompt in prompts]
    batches = NativeSampler(loaded).sample(requests, Decoding(temperature=0, max_new_tokens=max_new_tokens), seed=0)
    texts = {generation.prompt_id: generation.text for batch in batches for generation in batch}
    return [texts[prompt.id] for prompt in prompts]
