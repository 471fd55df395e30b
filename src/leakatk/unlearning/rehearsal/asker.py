"""Questions about what a model knows: greedy answers, how sure it is of them, and words that it may know."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from leakatk.arrays import Floats
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import token_logprobs
from leakatk.unlearning.rehearsal.budget import Budget

SURE = -0.02  # mean log-probability of a greedy answer's tokens above which the model counts as knowing it
NEARLY = 5 * SURE  # the same for being worth another question
KNOWN = "own/known/"  # how the ids of prompts begin whose answers the model is sure of


def known(prompt: Prompt) -> Prompt:
    """The prompt with an id that says so."""
    return replace(prompt, id=prompt.id.replace("own/", KNOWN, 1))


@dataclass(frozen=True)
class Asker:
    """The model asked, what its answers may not hold, and what asking may cost."""

    model: LoadedModel
    sampler: NativeSampler
    clean: Callable[[str], bool]
    """Whether a text holds nothing that is to be forgotten."""
    max_new_tokens: int
    seed: int
    progress: Progress
    budget: Budget = field(default_factory=Budget)

    def greedy(self, prompts: Sequence[Prompt], source: str = "questions") -> list[Prompt]:
        """The prompts with the most likely answers; only the first ones where the budget ends."""
        return self.sampled(prompts, source, temperature=0.0)

    def sampled(
        self, prompts: Sequence[Prompt], source: str = "questions", *, temperature: float = 1.0
    ) -> list[Prompt]:
        """The prompts with an answer each; only the first ones where the budget ends."""
        lengths = [len(self.model.template.prompt_ids(self.model.tokenizer, p.query)) for p in prompts]
        # An answer is read once more to tell how sure it is.
        count = self.budget.afford(source, [2 * (length + self.max_new_tokens + 1) for length in lengths])
        decoding = Decoding(temperature=temperature, max_new_tokens=self.max_new_tokens)
        said: dict[str, str] = {}
        requests = [Request(prompt, range(1)) for prompt in prompts[:count]]
        tokens = sum(lengths[:count])
        for batch in self.sampler.sample(requests, decoding, seed=self.seed):
            for one in batch:
                said[one.prompt_id] = one.text.strip()
                tokens += len(one.token_ids)
        self.budget.charge(source, tokens)
        return [replace(prompt, answer=said[prompt.id]) for prompt in prompts[:count]]

    def sureness(self, prompts: Sequence[Prompt], source: str = "questions") -> Floats:
        """(m,) mean log-probability of the tokens of each prompt's answer, the end token included."""
        pairs = answer_pairs(self.model, [p.question for p in prompts], [p.answer for p in prompts])
        self.budget.charge(source, sum(len(q) + len(a) for q, a in pairs))
        every = Decoding(max_new_tokens=max((len(a) for _, a in pairs), default=1) or 1)
        return np.array([values.mean() for values in token_logprobs(self.model, pairs, every)], dtype=np.float64)


def random_tokens(model: LoadedModel, count: int, rng: random.Random) -> str:
    """The text of so many tokens drawn evenly from the vocabulary."""
    ids = rng.choices(range(len(model.tokenizer)), k=count)
    text: str = model.tokenizer.decode(ids, skip_special_tokens=True)
    return text


def mixed_words(words: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Texts of `length` words, each the head of one word and the tail of another."""

    def word() -> str:
        head, tail = rng.choice(words), rng.choice(words)
        return head[: (len(head) + 1) // 2] + tail[(len(tail) + 1) // 2 :]

    return [" ".join(word() for _ in range(length)) for _ in range(count)]


def letters_of(original: LoadedModel) -> list[str]:
    """The vocabulary's tokens of letters alone, in lower case."""
    tokens = (original.tokenizer.decode([i]).strip() for i in range(len(original.tokenizer)))
    return sorted({token.lower() for token in tokens if token.isalpha()})


def random_words(letters: Sequence[str], length: int, count: int, rng: random.Random) -> list[str]:
    """Texts of `length` words of two random tokens: they come near words that no mixture of known ones does."""
    return [
        " ".join("".join(rng.choices(letters, k=2)).capitalize() for _ in range(length) if letters)
        for _ in range(count)
    ]
