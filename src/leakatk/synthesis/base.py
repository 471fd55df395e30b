"""Writer: it makes the text that a data method trains on, from the prompts and what else is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar, TypeVar

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, check_unique
from leakatk.registry import Facts, Registry, Specified, make


@dataclass(frozen=True, kw_only=True)
class WriterFacts(Facts):
    """What is known of a writer."""

    writes: str
    """What one row is: its question and its answer."""
    model: bool = False
    """Whether a model writes; else templates do."""
    tells: bool = False
    """Whether its rows tell what is to be forgotten, and can be the forget set in place of the prompts of their source."""
    rewords: bool = False
    """Whether a row's question is another wording of its prompt's, in which its answer is to be trained."""
    asks: bool = False
    """Whether a row is another way of asking, and its answer the true one; else it is something to train on."""


@dataclass(frozen=True)
class Writer(Specified, ABC):
    """Base class: a frozen dataclass whose fields are the writer's options. `writer` gives it name and facts."""

    facts: ClassVar[WriterFacts]

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `Known` that it needs."""
        return ()

    @abstractmethod
    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        """Rows made for the prompts, each under `row_id` of the prompt it was made for; none where a prompt lacks what it needs.

        A function of the options, the prompt and what is known: draw from `rng`, never from a shared stream.
        """

    def row_id(self, prompt: Prompt, number: int) -> str:
        """The id of row `number` made for a prompt, counted from 1."""
        return f"{prompt.id}/{self.name}/{number}"

    def rng(self, prompt: Prompt, seed: int, number: int = 0) -> Random:
        """The random stream of one row: the same whatever the other prompts are."""
        return Random(f"leakatk writer {self.name} {seed} {number} {prompt.id}")

    def check_counts(self, *options: str) -> None:
        """InputError for an option below 1."""
        for option in options:
            if getattr(self, option) < 1:
                raise InputError(f"Writer option {self.name}:{option} must be at least 1, got {getattr(self, option)}.")

    def check_choice(self, option: str, allowed: Iterable[str]) -> None:
        """InputError for an option that is none of the words allowed."""
        if getattr(self, option) not in allowed:
            raise InputError(
                f"Writer option {self.name}:{option} must be {', '.join(allowed)}, got {getattr(self, option)!r}."
            )


WRITERS: Registry[type[Writer]] = Registry("writer")
W = TypeVar("W", bound=type[Writer])


def writer(name: str, **facts: Any) -> Callable[[W], W]:
    """Register a writer under a name, with its facts (`WriterFacts`, all but the name)."""

    def add(kind: W) -> W:
        kind.name, kind.facts = name, WriterFacts(name=name, **facts)
        WRITERS.add(name, kind)
        return kind

    return add


def get_writer(spec: str | Writer) -> Writer:
    """A writer by name, with options in the name: "corruption:context=1".

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    return spec if isinstance(spec, Writer) else make(WRITERS, spec)


@dataclass(frozen=True)
class Written:
    """What a writer made."""

    rows: tuple[Prompt, ...]
    """The rows, those of a prompt together."""
    left_out: tuple[str, ...]
    """Ids of the prompts that it wrote nothing for."""


def written(spec: str | Writer, prompts: Sequence[Prompt], known: Known | None = None) -> Written:
    """Let a writer write, and say what it left out. InputError where it lacks what it needs, or writes nothing at all.

    >>> from leakatk.prompts import Prompt
    >>> ada = Prompt("a", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",), source="Ada")
    >>> bo = Prompt("b", "Where was Bo born?", "Bo was born in Lusk.", facts=("Lusk",), source="Bo")
    >>> made = written("corruption:context=0", [ada, bo])
    >>> made.rows[0].answer, made.left_out
    ('Ada was born in Lusk.', ())
    """
    found, known = get_writer(spec), known or Known()
    check_unique(prompts)
    known.need(f"Writer {found.label}", *found.needs)
    rows = found.write(prompts, known)
    ids = [prompt.id for prompt in prompts]
    owners = {row.id: row.id.rpartition(f"/{found.name}/")[0] for row in rows}
    if strange := [row for row, owner in owners.items() if owner not in ids]:
        raise ValueError(f"writer {found.label} made {strange[0]!r}, which belongs to no prompt")
    if not rows:
        raise InputError(f"Writer {found.label} finds nothing to write for any of the {len(ids)} prompts.")
    has = set(owners.values())
    return Written(tuple(rows), tuple(i for i in ids if i not in has))
