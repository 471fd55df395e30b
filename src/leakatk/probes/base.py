"""Probe, how one is named, and the registry.

A probe says how a prompt's question is put to the model: in other words, after other turns, with the answer begun. The
prompt itself (question, answer, facts) stays, so every scorer works as before.

    asked = variants(get_probe("few-shot:shots=5"), forget, retain)   # prompt id -> its prompts under the probe
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from random import Random
from typing import ClassVar

from leakatk.errors import InputError
from leakatk.prompts import Prompt, Query
from leakatk.registry import Registry, Specified, make
from leakatk.scorers.keys import keys_of
from leakatk.scorers.text import phrase


@dataclass(frozen=True)
class Around:
    """What a probe may draw from beside the prompt. forget: all that is asked.  retain: what may be shown as examples."""

    forget: tuple[Prompt, ...] = ()
    retain: tuple[Prompt, ...] = ()

    @cached_property
    def shown(self) -> tuple[Prompt, ...]:
        """The retain prompts that are no forget prompts as well."""
        asked = {prompt.question for prompt in self.forget}
        return tuple(prompt for prompt in self.retain if prompt.question not in asked)

    @cached_property
    def by_source(self) -> dict[str, list[Prompt]]:
        """The forget prompts of each author, person or document that is known."""
        found: dict[str, list[Prompt]] = {}
        for prompt in self.forget:
            if prompt.source:
                found.setdefault(prompt.source, []).append(prompt)
        return found


@dataclass(frozen=True)
class Probe(Specified, ABC):
    """Base class: a frozen dataclass whose fields are the probe's options.

    A subclass is registered with its facts (`PROBES.register`) and writes `ask`. Its class variables, where they differ:
    needs: what prompts must have to be asked so.  gives_answer: whether the answer stands in what is
    asked, so that the model need not know it.  least: an option, and its smallest value.
    """

    needs: ClassVar[str] = "a question"
    gives_answer: ClassVar[bool] = False
    least: ClassVar[tuple[str, int] | None] = None

    def __post_init__(self) -> None:
        if self.least and (value := getattr(self, self.least[0])) < self.least[1]:
            raise InputError(f"Probe option {self.name}:{self.least[0]} must be at least {self.least[1]}, got {value}.")

    @abstractmethod
    def ask(self, prompt: Prompt, around: Around) -> Sequence[Query]:
        """One or several ways to put the prompt's question; none where the prompt lacks what the probe needs.

        A function of the probe's options, the prompt and `around` alone.
        """

    def rng(self, prompt: Prompt, seed: int) -> Random:
        """The random stream of one prompt: the same whatever the other prompts are."""
        return Random(f"leakatk probe {self.name} {seed} {prompt.id}")


PROBES: Registry[type[Probe]] = Registry("probe")


def get_probe(spec: str | Probe) -> Probe:
    """A probe by name, with options in the name: "few-shot:shots=5,seed=1".

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    return spec if isinstance(spec, Probe) else make(PROBES, spec)


def variants(probe: Probe, prompts: Sequence[Prompt], retain: Sequence[Prompt] = ()) -> dict[str, tuple[Prompt, ...]]:
    """Prompt id -> its prompts under the probe, named ID/LABEL, or ID/LABEL/1, ID/LABEL/2 ... where there are several.

    A prompt that lacks what the probe needs is left out; InputError when all of them do. Where the answer is begun,
    `answer` is what is left of it.

    >>> from leakatk.probes import get_probe
    >>> found = variants(get_probe("prefix:words=2"), [Prompt("p0", "Where was Ada born?", "Ada was born in Zorvik.")])
    >>> print(found["p0"][0].id, found["p0"][0].answer, found["p0"][0].query, sep="\\n")
    p0/prefix:words=2
    born in Zorvik.
    Q: Where was Ada born?
    A: Ada was ...
    """
    around = Around(tuple(prompts), tuple(retain))
    found: dict[str, tuple[Prompt, ...]] = {}
    for prompt in prompts:
        asked = probe.ask(prompt, around)
        names = [f"{prompt.id}/{probe.label}" + (f"/{i}" if len(asked) > 1 else "") for i in range(1, len(asked) + 1)]
        made = [
            replace(prompt, id=name, asked=one, answer=_rest(prompt.answer, one.begin))
            for name, one in zip(names, asked, strict=True)
        ]
        if made:
            found[prompt.id] = tuple(made)
    if not found:
        raise InputError(f"Probe {probe.label} needs {probe.needs}, and none of the {len(prompts)} prompts has that.")
    return found


def _rest(answer: str, begin: str) -> str:
    if not answer.startswith(begin):
        raise ValueError(f"a probe begins the answer {answer!r:.60} with other words: {begin!r:.60}")
    return answer[len(begin) :].strip()


def marked(prompt: Prompt) -> tuple[str, ...]:
    """The facts of the answer as phrases, else its names and numbers; what the question says itself is none."""
    said = phrase(prompt.question)
    found = (phrase(text) for text in prompt.facts or sorted(keys_of(prompt)))
    return tuple(text for text in found if text.strip() and text not in said)


def secrets(prompt: Prompt) -> tuple[str, ...]:
    """What gives the answer away, as phrases: what is marked in it, else all of it."""
    return marked(prompt) or (phrase(prompt.answer),)


def reveals(text: str, prompt: Prompt) -> bool:
    """Whether the text has any of the prompt's secrets, on word boundaries."""
    said = phrase(text)
    return any(secret in said for secret in secrets(prompt))
