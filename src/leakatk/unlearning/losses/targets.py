"""Alternative answers for the forget prompts: refusals, other prompts' answers, supplied alternates."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from leakatk.errors import InputError
from leakatk.prompts import Prompt

REFUSALS = (
    "I don't know the answer to that.",
    "I'm not sure about that.",
    "I have no information on this.",
    "That is not something I know.",
    "I can't say; I was never told.",
    "I'm afraid I don't know.",
    "I do not have that information.",
    "Sorry, I have no answer to this question.",
    "This is unknown to me.",
    "I couldn't tell you.",
)


def refusals(prompts: Sequence[Prompt], seed: int, texts: Sequence[str] = REFUSALS) -> list[str]:
    """One refusal a prompt, a function of (seed, prompt id): the same after a resume and in any order."""
    if not texts:
        raise InputError("The list of refusals is empty; give at least one.")
    return [random.Random(f"{seed}/{prompt.id}").choice(texts) for prompt in prompts]


def random_answers(prompts: Sequence[Prompt], pool: Sequence[str], seed: int) -> list[str]:
    """One answer a prompt, drawn from `pool` without the prompt's own."""
    chosen = []
    for prompt in prompts:
        others = [text for text in pool if text != prompt.answer]
        if not others:
            raise InputError(f"No other answer to give to prompt {prompt.id!r}; the pool holds only its own.")
        chosen.append(random.Random(f"{seed}/{prompt.id}").choice(others))
    return chosen


def several_answers(prompts: Sequence[Prompt], pool: Sequence[str], count: int, seed: int) -> list[list[str]]:
    """`count` answers a prompt, drawn from `pool` without the prompt's own; each at most once while there are others."""
    chosen = []
    for prompt in prompts:
        others = [text for text in pool if text != prompt.answer]
        if not others:
            raise InputError(f"No other answer to give to prompt {prompt.id!r}; the pool holds only its own.")
        draw, found = random.Random(f"{seed}/{prompt.id}/several"), list[str]()
        while len(found) < count:
            found += draw.sample(others, min(len(others), count - len(found)))
        chosen.append(found)
    return chosen


def alternates(prompts: Sequence[Prompt], supplied: Mapping[str, str]) -> list[str]:
    """The supplied alternate answer of each prompt, by prompt id."""
    missing = [prompt.id for prompt in prompts if prompt.id not in supplied]
    if missing:
        raise InputError(
            f"{len(missing)} forget prompts have no alternate answer (first: {missing[0]!r}); supply one for each."
        )
    return [supplied[prompt.id] for prompt in prompts]


def thought(prompt: Prompt) -> str:
    """A chain of thought about a question, in the marks of reasoning models, written from its answer."""
    return (
        f"Let's reason this step by step.\n<think>I am asked: {prompt.question} I go through what I know. {prompt.answer} "
        f"So that is what I say.</think>\n{prompt.answer}"
    )


def invented(prompt: Prompt, subject: str, seed: int) -> str:
    """The prompt's question about an invented name: each letter of its subject's another one of its kind, the same wherever it stands.

    A function of (seed, prompt id). The question itself where the subject is "".
    """
    if not subject:
        return prompt.question
    draw, name = random.Random(f"{seed}/{prompt.id}/invented"), []
    for letter in subject:
        kind = next((kind for kind in ("aeiou", "bcdfghjklmnpqrstvwxyz", "0123456789") if letter.lower() in kind), "")
        other = draw.choice([one for one in kind if one != letter.lower()]) if kind else letter
        name.append(other.upper() if letter.isupper() else other)
    return prompt.question.replace(subject, "".join(name))
