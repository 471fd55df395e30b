"""Typo probe: the question typed in haste."""

from __future__ import annotations

import re
from dataclasses import dataclass
from random import Random

from leakatk.errors import InputError
from leakatk.probes.base import PROBES, Around, Probe
from leakatk.prompts import Prompt, Query

# Names and numbers are kept: with a slip in them it would be another question.
WORD = re.compile(r"\b[a-z]{4,}\b")


@PROBES.register(
    "typos",
    summary="the question with slips of the keyboard, names and numbers kept",
    paper="ours",
)
@dataclass(frozen=True)
class Typos(Probe):
    """Two neighbouring letters swapped in a share `rate` of the question's longer words, at least one; names and numbers
    stay. The slips are drawn for each prompt by `seed`.
    """

    needs = "questions with a word of four small letters or more"

    rate: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= 1:
            raise InputError(f"Probe option typos:rate must be above 0 and at most 1, got {self.rate}.")

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        rng = self.rng(prompt, self.seed)
        words = [match for match in WORD.finditer(prompt.question) if _slips(match[0])]
        if not words:
            return []
        hit = [match for match in words if rng.random() < self.rate] or [rng.choice(words)]
        text = prompt.question
        for match in reversed(hit):
            text = text[: match.start()] + _slip(match[0], rng) + text[match.end() :]
        return [Query(text)]


def _slips(word: str) -> list[int]:
    """Where two different inner letters meet."""
    return [i for i in range(1, len(word) - 2) if word[i] != word[i + 1]]


def _slip(word: str, rng: Random) -> str:
    i = rng.choice(_slips(word))
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
