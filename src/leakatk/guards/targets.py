"""Targets of guards: the names of what is to be forgotten, from the forget prompts, and where they stand in a text."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from rapidfuzz import fuzz

from leakatk.errors import InputError
from leakatk.guards.base import Floats, Threshold
from leakatk.guards.detectors import put
from leakatk.prompts import Known, Prompt
from leakatk.scorers.text import plain_characters

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

_WORD = re.compile(r"[^\W_][\w'’-]*")
_SHORT = 3  # a name this short is no target: it stands in many texts


def names_in(text: str) -> list[str]:
    """Runs of capitalised words, the first word of the text left out.

    >>> names_in("Where was Ada Korvin born?")
    ['Ada Korvin']
    """
    found: list[list[re.Match[str]]] = []
    for place, word in enumerate(_WORD.finditer(text)):
        if place == 0 or not word[0][0].isupper():
            continue
        if found and text[found[-1][-1].end() : word.start()].isspace():
            found[-1].append(word)
        else:
            found.append([word])
    return [text[run[0].start() : run[-1].end()] for run in found]


def subjects(forget: Sequence[Prompt], retain: Sequence[Prompt] = ()) -> tuple[str, ...]:
    """What the forget prompts ask about: the names in each, else its source, else the whole question; answers are not read.

    Names that stand in a retain prompt too, and very short ones, tell nothing and are left out.
    """
    kept = [plain(prompt.question) for prompt in retain]

    def tells(name: str) -> bool:
        return len(name) > _SHORT and not any(mentions(plain(name), text) for text in kept)

    found: dict[str, None] = {}
    for prompt in forget:
        names = [name for name in names_in(prompt.question) if tells(name)]
        names = names or ([prompt.source] if prompt.source and tells(prompt.source) else [])
        found |= dict.fromkeys(names or [prompt.question])
    return tuple(found)


def plain(text: str) -> str:
    """Lower case, without accents, one blank between words."""
    return " ".join(_WORD.findall(plain_characters(text).casefold()))


def mentions(name: str, text: str) -> bool:
    """Whether a name stands in a text word for word; both as `plain` gives them."""
    return f" {name} " in f" {text} "


@dataclass(frozen=True)
class Mentions(Threshold):
    """How well the best target matches a part of the prompt, letters compared (0 to 1, 1 word for word)."""

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    threshold: float = 0.9
    targets: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("A list of targets", *self.needs)
        made = replace(self, targets=tuple(map(plain, subjects(known.forget, known.retain))))
        return made.fitted(known, known.retain)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        return np.array([nearest(self.targets, text) for text in put(prompts)])

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "targets": len(self.targets)}


def near(name: str, text: str) -> float:
    """1 less the letters to change, as a share of the name, for it to stand in the text (rapidfuzz's partial ratio)."""
    return nearest([name], text)


def nearest(names: Sequence[str], text: str) -> float:
    """The largest `near` of these names, 0 without any. The text is made plain once."""
    bare, size = plain(text), len(text)
    return max((float(fuzz.partial_ratio(name, bare)) / 100 for name in names if len(name) <= size), default=0.0)


def asked_about(prompt: Prompt, targets: Sequence[str], least: float = 0.9) -> list[str]:
    """The targets that a prompt mentions, the best first; names as they are written."""
    scored = [(near(plain(name), prompt.query.text), name) for name in targets]
    return [name for score, name in sorted(scored, key=lambda one: (-one[0], one[1])) if score >= least]


def check_choice(kind: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise InputError(f"The {kind} is one of {', '.join(known)}, got {value!r}.")
