"""Agents: an answer to a flagged prompt is edited, judged and composed anew before anyone sees it (ALU's four roles).

Vanilla answers, AuditErase writes copies of the answer without what is to be forgotten, Critic scores each, Composer gives the best
or declines. By rule the roles know the question alone: what an answer to a question about a target adds to it is the target's.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from leakatk.errors import InputError
from leakatk.guards.actions import REFUSAL
from leakatk.guards.base import Action
from leakatk.guards.targets import asked_about, plain, subjects
from leakatk.guards.voices import ask, voice_mark, voice_of
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

_FUNCTION = frozenset(
    [
        "a",
        "an",
        "the",
        "and",
        "or",
        "but",
        "of",
        "in",
        "on",
        "at",
        "to",
        "for",
        "from",
        "by",
        "with",
        "as",
        "is",
        "was",
        "are",
        "were",
        "be",
        "been",
        "has",
        "have",
        "had",
        "it",
        "its",
        "he",
        "she",
        "they",
        "his",
        "her",
        "their",
        "this",
        "that",
        "these",
        "those",
        "which",
        "who",
        "whom",
        "there",
        "not",
        "no",
    ]
)
_GAP = "[...]"
_LOWEST, _HIGHEST = 1, 5
_SCORE = re.compile(r"[1-5]")


@dataclass(frozen=True)
class Agents(Action):
    """The answer is edited so that it says nothing new about a target; where no edit is good enough, it is declined."""

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    edits: int = 3
    """How many edited answers AuditErase writes; by rule there are at most 3 kinds."""
    least: float = 3.0
    """Below this mean of the Critic's scores (1 to 5) the Composer declines."""
    refusal: str = REFUSAL
    """What it says then. On the command line it cannot hold a comma; in Python it can."""
    targets: tuple[str, ...] = dataclasses.field(default=(), repr=False, compare=False)
    voice: str = dataclasses.field(default="", repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.edits < 1 or not _LOWEST <= self.least <= _HIGHEST:
            raise InputError(
                f"Agents make at least 1 edit, and least is from 1 to 5, got {self.edits} and {self.least}."
            )

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """With an auxiliary model `roles`, that model plays AuditErase, Critic and Composer; else rules do."""
        known.need("A list of targets", *self.needs)
        return replace(self, targets=subjects(known.forget, known.retain), voice=voice_of(known, "roles"))

    def answer(self, prompt: Prompt, text: str) -> str:
        """text: what Vanilla, the guarded model itself, has answered."""
        question = prompt.query.text
        if self.voice:
            return self._played(prompt, question, text)
        found = erased(question, text)[: self.edits]
        return composed(found, [score(question, text, one) for one in found], self.least) or self.refusal

    def _played(self, prompt: Prompt, question: str, text: str) -> str:
        names = ", ".join(asked_about(prompt, self.targets)) or ", ".join(self.targets)
        task = f"Forgotten: {names}\nQuestion: {question}\nAnswer: {text}\n"
        made = ask(
            self.voice,
            [
                f"{task}Rewrite the answer, version {i + 1}, so that it tells nothing about what is forgotten."
                for i in range(self.edits)
            ],
            system="You remove from answers all that touches what is forgotten, and keep the rest.",
        )
        judged = ask(
            self.voice,
            [f"{task}Rewritten: {one}\nScore from 1 to 5:" for one in made],
            system="You score rewritten answers: 1 tells what is forgotten or is no answer, 5 tells nothing of it and reads well.",
        )
        marks = [float(found[0]) if (found := _SCORE.search(one)) else float(_LOWEST) for one in judged]
        if sum(marks) / len(marks) < self.least:
            return self.refusal
        best = "\n".join(one for _, one in sorted(zip(marks, made, strict=True), key=lambda pair: -pair[0])[:2])
        [whole] = ask(
            self.voice,
            [f"{task}Versions:\n{best}\nGive one answer out of these, which tells nothing about what is forgotten."],
            system="You compose one answer out of several versions.",
        )
        return whole or self.refusal

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **({"roles": voice_mark(self.voice)} if self.voice else {})}


def added(question: str, text: str) -> list[tuple[str, bool]]:
    """(piece, whether it is a word that the question does not hold) in order; all pieces together are the text."""
    known = set(plain(question).split()) | _FUNCTION
    pieces = re.findall(r"\w[\w'’-]*|[^\w]+|\w+", text)
    return [(one, bool(re.match(r"\w", one)) and not set(plain(one).split()) <= known) for one in pieces]


def erased(question: str, text: str) -> list[str]:
    """Edited answers by rule: new words masked, sentences with new words left out, new words left out; none of them twice."""
    masked = re.sub(
        rf"{re.escape(_GAP)}(\s+{re.escape(_GAP)})+",
        _GAP,
        "".join(_GAP if new else one for one, new in added(question, text)),
    )
    sentences = re.split(r"(?<=[.!?])\s+", text)
    clean = " ".join(one for one in sentences if not any(new for _, new in added(question, one)))
    cut = " ".join("".join("" if new else one for one, new in added(question, text)).split())
    return list(dict.fromkeys([masked, clean, cut]))


def score(question: str, text: str, edited: str) -> float:
    """The Critic's score by rule, 1 to 5: half for the share of new words that are gone, half for the share of the others kept.

    1 for an answer that says nothing any more.
    """
    was, now = added(question, text), added(question, edited.replace(_GAP, ""))
    new = [one for one, flag in was if flag]
    old = [one for one, flag in was if not flag and re.match(r"\w", one)]
    said = [one for one, flag in now if not flag and re.match(r"\w", one)]
    if not said:
        return float(_LOWEST)
    left = sum(flag for _, flag in now)
    gone = 1 - left / len(new) if new else 1.0
    kept = min(1.0, len(said) / len(old)) if old else 0.0
    return _LOWEST + (_HIGHEST - _LOWEST) * (gone + kept) / 2


def composed(edits: Sequence[str], scores: Sequence[float], least: float) -> str:
    """The edit with the best score, the first of several; "" where their mean is below `least`."""
    if not edits or sum(scores) / len(scores) < least:
        return ""
    return max(zip(scores, edits, strict=True), key=lambda pair: pair[0])[1]
