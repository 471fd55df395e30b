"""Scorer, how one is named, and the registry.

A scorer compares generations with their targets, the prompts with their true answers, and returns one
float a pair. It declares its range and whether a higher score means more leak. A pair it cannot score is NaN, never 0.

    score = get_scorer("rouge-l").score(prompts, texts)              # parallel lists, (len(texts),) float64
    score = score_texts("rouge-l:part=f1,stem=no", answers, texts)   # strings in place of prompts
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import numpy as np

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.registry import Registry, Specified, make

FloatArray = Floats  # their former names
IntArray = Ints
H = TypeVar("H", bound=Hashable)


@dataclass(frozen=True)
class Scorer(Specified, ABC):
    """Base class: a frozen dataclass whose fields are the scorer's options.

    A subclass is registered with its facts (`SCORERS.register`) and writes `score_distinct`. Its class variables, where
    they differ: low, high: every score lies between them.
    higher_means_leak: False for scores where a high value is good.  needs_model: True when a model (or a judge) is
    loaded to score.  retries_missing: True when scoring again may fill in what came back NaN.
    """

    low: ClassVar[float] = 0.0
    high: ClassVar[float] = 1.0
    higher_means_leak: ClassVar[bool] = True
    needs_model: ClassVar[bool] = False
    retries_missing: ClassVar[bool] = False

    @abstractmethod
    def score_distinct(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        """Score parallel lists in which no pair occurs twice; NaN where the score is undefined or missing."""

    def score(self, targets: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        """Scores of parallel lists, shape (len(generations),), float64; equal pairs are scored once.

        Raises InputError when the lists are not of prompts and texts or differ in length, and ValueError when a scorer
        leaves its declared range.
        """
        check_all("The targets", targets, Prompt)
        check_all("The generations", generations, str)
        if len(targets) != len(generations):
            raise InputError(
                f"{self.label}: {len(targets)} targets for {len(generations)} generations; give one target for each."
            )
        if not generations:
            return np.empty(0)
        prompts, prompt_of = distinct_prompts(targets)
        texts, text_of = distinct(generations)
        pairs, pair_of = np.unique(prompt_of * len(texts) + text_of, return_inverse=True)
        scores = np.asarray(
            self.score_distinct(
                [prompts[i] for i in pairs // len(texts)],
                [texts[i] for i in pairs % len(texts)],
            ),
            dtype=np.float64,
        )
        if scores.shape != pairs.shape or bool(((scores < self.low) | (scores > self.high)).any()):
            raise ValueError(f"{self.label}: expected {len(pairs)} scores between {self.low} and {self.high} (or NaN).")
        return scores[pair_of]

    def keeping(self, directory: Path) -> Scorer:
        """The scorer with a place for what it must keep between calls; most keep nothing."""
        return self

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps: name, options, range, direction."""
        return {
            "name": self.name,
            "label": self.label,
            "options": self.options(),
            "low": self.low,
            "high": self.high,
            "higher_means_leak": self.higher_means_leak,
        }


@runtime_checkable
class Priced(Protocol):
    """A scorer that costs money: what is asked of it before it scores.

    It also has the options `max_requests` and `max_cost` (US dollars), 0 for no limit; nothing is sent beyond them.
    """

    def check_ready(self) -> None:
        """ModelError when there is nothing to ask: no client, no key and no address. Nothing is sent."""

    def expected(self, targets: Sequence[Prompt], generations: Sequence[str]) -> dict[str, float]:
        """What `score` would send, and what that costs; nothing is sent.

        items: pairs to ask about.  judged: pairs whose label is there.  requests.  tokens_in, tokens_out.  dollars: NaN
        where the price is not known.
        """

    def requests_for(self, pairs: int) -> int:
        """The number of requests for so many pairs."""

    def says(self, cost: Mapping[str, float]) -> str:
        """What is expected, in words, and where it would stop."""


SCORERS: Registry[type[Scorer]] = Registry("scorer")


def get_scorer(spec: str, **options: Any) -> Scorer:
    """A scorer by name, with options as keywords or in the name: "rouge-l:part=f1,stem=no".

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    return make(SCORERS, spec, options)


def score_texts(name: str, targets: Sequence[str | Prompt], generations: Sequence[str], **options: Any) -> FloatArray:
    """The bare scorer on parallel lists; a string target stands for a prompt without question, with that answer.

    >>> score_texts("rouge-l", ["born in Zorvik"], ["She was born in Zorvik."])
    array([1.])
    >>> score_texts("rouge-l:part=f1", ["born in Zorvik"], ["born"])
    array([0.5])
    """
    check_all("The targets", targets, (str, Prompt))
    made: dict[str, Prompt] = {}
    prompts = []
    for target in targets:
        if isinstance(target, str):
            if target not in made:
                made[target] = Prompt(id=str(len(made)), question="", answer=target)
            target = made[target]
        prompts.append(target)
    return get_scorer(name, **options).score(prompts, generations)


def check_all(name: str, items: Any, kind: type | tuple[type, ...]) -> None:
    """InputError unless `items` is a list (or array) of such things only. A lone text is no list."""
    kinds = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
    if isinstance(items, str | bytes) or not isinstance(items, Collection):
        raise InputError(f"{name} must be a list of {kinds}, got {items!r:.60}.")
    for found in set(map(type, items)):
        if not issubclass(found, kind):
            raise InputError(f"{name} must be a list of {kinds}, but hold a {found.__name__}.")


def distinct(items: Iterable[H]) -> tuple[list[H], IntArray]:
    """The distinct items in order of first appearance, and for each item its index among them."""
    index: dict[H, int] = {}
    where = [index.setdefault(item, len(index)) for item in items]
    return list(index), np.asarray(where, dtype=np.intp)


def distinct_prompts(prompts: Sequence[Prompt]) -> tuple[list[Prompt], IntArray]:
    """`distinct` for prompts: hashing a prompt is slow and the same object comes many times, so look at objects first."""
    objects, where = distinct(map(id, prompts))
    by_object = {id(prompt): prompt for prompt in prompts}
    kept, among = distinct(by_object[key] for key in objects)
    return kept, among[where]
