"""Questions about what a model knows: greedy answers, how sure it is of them, and names that it may know."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.unlearning.rule.likelihood import Floats, answer_likelihoods

SURE = -0.02  # mean log-probability of a greedy answer's tokens above which the model counts as knowing it
NEARLY = 5 * SURE  # the same for being worth another question
KNOWN = "own/known/"  # how the ids of prompts begin whose answers the model is sure of


def known(prompt: Prompt) -> Prompt:
    """The prompt with an id that says so."""
    return replace(prompt, id=prompt.id.replace("own/", KNOWN, 1))


@dataclass(frozen=True)
class Asker:
    """The model asked, and what its answers may not hold."""

    model: LoadedModel
    sampler: NativeSampler
    clean: Callable[[str], bool]
    """Whether a text holds nothing that is to be forgotten."""
    max_new_tokens: int
    seed: int
    progress: Progress

    def greedy(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The prompts with the most likely answers."""
        return self.sampled(prompts, temperature=0.0)

    def sampled(self, prompts: Sequence[Prompt], *, temperature: float = 1.0) -> list[Prompt]:
        """The prompts with an answer each."""
        decoding = Decoding(temperature=temperature, max_new_tokens=self.max_new_tokens)
        said = texts_of(self.sampler, prompts, 1, decoding, seed=self.seed)
        return [replace(p, answer=texts[0].strip()) for p, texts in zip(prompts, said, strict=True)]

    def sureness(self, prompts: Sequence[Prompt]) -> Floats:
        """(m,) mean log-probability of the tokens of each prompt's answer."""
        return answer_likelihoods(self.model, prompts).logprob


def random_tokens(model: LoadedModel, count: int, rng: random.Random) -> str:
    """The text of so many tokens drawn evenly from the vocabulary."""
    ids = rng.choices(range(len(model.tokenizer)), k=count)
    text: str = model.tokenizer.decode(ids, skip_special_tokens=True)
    return text


def mixed_names(words: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Names of `length` words, each the head of one word and the tail of another."""

    def word() -> str:
        head, tail = rng.choice(words), rng.choice(words)
        return head[: (len(head) + 1) // 2] + tail[(len(tail) + 1) // 2 :]

    return [" ".join(word() for _ in range(length)) for _ in range(count)]


def letters_of(original: LoadedModel) -> list[str]:
    """The vocabulary's tokens of letters alone, in lower case."""
    tokens = (original.tokenizer.decode([i]).strip() for i in range(len(original.tokenizer)))
    return sorted({token.lower() for token in tokens if token.isalpha()})


def random_names(letters: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Names of `length` words of two random tokens: they come near names that no mixture of known ones does."""
    return [
        " ".join("".join(rng.choices(letters, k=2)).capitalize() for _ in range(length) if letters)
        for _ in range(count)
    ]
