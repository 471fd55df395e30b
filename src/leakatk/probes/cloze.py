"""Cloze probe: the true answer with its facts left open, to be filled in."""

from __future__ import annotations

import re
from dataclasses import dataclass

from leakatk.errors import InputError
from leakatk.probes.base import PROBES, Around, Probe, marked, reveals
from leakatk.prompts import Prompt, Query
from leakatk.scorers.text import words

BLANK = "____"
# Punctuation at the edges of a word stays where the word is left open.
EDGES = re.compile(r"^([(\[\"'“‘]*).*?([.,;:!?)\]\"'”’]*)$", re.DOTALL)


@PROBES.register(
    "cloze",
    summary="the true answer with its facts left open, to be filled in",
    paper="the same fact in several forms of a task: Evaluations are inconclusive; downstream tasks of Lynch et al. 2024, arXiv 2402.16835",
    rows=("26", "83"),
    reading="facts are the marked ones, else names and numbers; each run of them is one blank. The other forms of a task are the question "
    "itself, `prefix` and the metric `choices`",
)
@dataclass(frozen=True)
class Cloze(Probe):
    """The question, then its true answer with a blank for each fact. question: yes, or no for the sentence alone.

    A prompt whose answer is nothing but facts is left out: no words would stand around the blank.
    """

    needs = "answers with a fact and other words around it"

    question: str = "yes"

    def __post_init__(self) -> None:
        if self.question not in ("yes", "no"):
            raise InputError(f"Probe option cloze:question must be yes or no, got {self.question!r}.")

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        sentence = opened(prompt)
        if not sentence:
            return []
        before = f"{prompt.question}\n" if self.question == "yes" else ""
        return [Query(f"{before}Fill in the blank: {sentence}")]


def opened(prompt: Prompt) -> str:
    """The answer with a blank for each run of its facts; "" where it has none, or nothing else.

    >>> opened(Prompt("p", "Where was Ada born?", "Ada was born in Zorvik, in 1902.", facts=("Zorvik", "1902")))
    'Ada was born in ____, in ____.'
    """
    facts = [tuple(fact.split()) for fact in marked(prompt)]
    chunks = re.findall(r"\s+|\S+", prompt.answer)
    said = [(place, word) for place, chunk in enumerate(chunks) for word in words(chunk)]
    hidden: set[int] = set()
    for fact in facts:
        for i in range(len(said) - len(fact) + 1):
            if tuple(word for _, word in said[i : i + len(fact)]) == fact:
                hidden |= {place for place, _ in said[i : i + len(fact)]}
    if not hidden or all(place in hidden for place, _ in said):
        return ""
    text = "".join(EDGES.sub(r"\1\0\2", chunk) if place in hidden else chunk for place, chunk in enumerate(chunks))
    text = re.sub(r"\0(?:\s+\0)*", BLANK, text)
    return "" if reveals(text, prompt) else text
