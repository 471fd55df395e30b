"""Corruption of embeddings as strong as it has to be: sigma searched against a surrogate score, and names alone corrupted."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.guards.actions import Corrupt
from leakatk.guards.targets import check_choice, subjects
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Searched(Corrupt):
    """`Corrupt`, with sigma found by zeroth-order search and, where wanted, on the tokens of names alone."""

    tokens: str = "all"
    """"all" tokens of the prompt, or those of "names" of what is to be forgotten; where none stands in it, all."""
    search: int = 0
    """Steps of the search for sigma; 0 takes it as it is given."""
    rate: float = 100.0
    """How far sigma moves for a slope of 1."""
    reach: float = 1.0
    """Half the distance of the two sigmas that a slope is taken from."""
    surrogate: float = -1.0
    """The score that a model without the forgotten would have; below 0 it is estimated."""
    names: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("choice of tokens", self.tokens, ("all", "names"))
        if self.search < 0 or not self.reach > 0 or not self.rate > 0:
            raise InputError("The search for sigma needs search of at least 0, and rate and reach above 0.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Corruption of names", "forget")
        made = replace(self, names=subjects(known.forget, known.retain))
        if not self.search:
            return made
        if loaded is None:
            raise InputError("The search for sigma needs the model in this process; use --engine native or generate.")
        target = self.surrogate if self.surrogate >= 0 else unknowing(loaded, known.forget)

        def off(sigma: float) -> float:
            return abs(replace(made, sigma=sigma).mean_probability(loaded, known.forget) - target)

        return replace(made, sigma=searched(off, self.sigma, steps=self.search, rate=self.rate, reach=self.reach))

    def group(self, loaded: LoadedModel, prompt: Prompt) -> tuple[bool, ...]:
        whole = super().group(loaded, prompt)
        if self.tokens == "all":
            return whole
        text = loaded.template.text(loaded.tokenizer, prompt.query)
        special = not loaded.template.is_chat(loaded.tokenizer)
        found = loaded.tokenizer(text, add_special_tokens=special, return_offsets_mapping=True)
        low = text.lower()
        spans = [(at, at + len(name)) for name in self.names for at in _places(low, name.lower())]
        named = [any(start < end_ and begin < end for begin, end_ in spans) for start, end in found["offset_mapping"]]
        named += [False] * (len(whole) - len(named))
        chosen = tuple(one and name for one, name in zip(whole, named, strict=False))
        return chosen if any(chosen) else whole

    def mean_probability(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> float:
        """Mean over prompts of the true answer's probability a token, under corruption."""
        groups: dict[tuple[bool, ...], list[Prompt]] = {}
        for prompt in prompts:
            groups.setdefault(self.group(loaded, prompt), []).append(prompt)
        found: list[float] = []
        for some in groups.values():
            with self.hooks(loaded, some):
                found += probabilities(loaded, some)
        return float(np.mean(found))


def _places(text: str, name: str) -> list[int]:
    found, at = [], text.find(name)
    while at >= 0:
        found.append(at)
        at = text.find(name, at + 1)
    return found


def probabilities(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[float]:
    """The geometric mean of the probabilities of the true answer's tokens, of each prompt."""
    from leakatk.sampling.decoding import Decoding
    from leakatk.sampling.native import NativeSampler
    from leakatk.sampling.teacher_forcing import truths_of

    truths = truths_of(NativeSampler(loaded), list(prompts), Decoding())
    return [math.exp(truths[prompt.id][1] / max(1, len(truths[prompt.id][0]))) for prompt in prompts]


def unknowing(loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
    """The score of a model that does not know: the probability a token of another forget prompt's answer, mean over prompts."""
    answers = [prompt.answer for prompt in forget]
    others = [
        replace(prompt, answer=other)
        for i, prompt in enumerate(forget)
        if (other := next((one for one in answers[i + 1 :] + answers[:i] if one != prompt.answer), None)) is not None
    ]
    if not others:
        raise InputError("The surrogate score is estimated from other answers, and there is one; give surrogate=SCORE.")
    return float(np.mean(probabilities(loaded, others)))


def searched(off: Callable[[float], float], start: float, *, steps: int, rate: float, reach: float) -> float:
    """The sigma with the least `off` of those met: sigma <- max(0, sigma - rate (off(sigma + reach) - off(sigma - reach)) / (2 reach))."""

    sigma, best = start, (float(off(start)), start)
    for _ in range(steps):
        slope = (float(off(sigma + reach)) - float(off(max(0.0, sigma - reach)))) / (2 * reach)
        sigma = max(0.0, sigma - rate * slope)
        best = min(best, (float(off(sigma)), sigma))
    return best[1]
