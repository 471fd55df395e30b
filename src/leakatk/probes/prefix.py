"""Prefix probe: the answer is begun; does the model go on?"""

from __future__ import annotations

import re
from dataclasses import dataclass

from leakatk.probes.base import PROBES, Around, Probe, marked
from leakatk.prompts import Prompt, Query
from leakatk.scorers.text import words


@PROBES.register(
    "prefix",
    summary="the first words of the true answer given, the model goes on",
    paper="prefix prompts of Carlini et al. 2023, arXiv 2202.07646, cut before the first fact (our reading)",
    reading="cut before the first fact of the answer",
)
@dataclass(frozen=True)
class Prefix(Probe):
    """The model's answer is made to start with the first words of the true one; what it adds is scored against the rest.

    words: how many; fewer where a fact of the answer begins before that (its first name or number where facts are not
    marked), at most half of an answer without any, and none where it starts with one: that prompt is left out. Needs an
    engine that holds the model, or a server that completes text: a chat endpoint refuses it. An attacker who types only
    questions cannot do this; who has the weights can.
    """

    needs = "answers with words before their first fact"
    least = ("words", 1)

    words: int = 3

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        ends = [match.end() for match in re.finditer(r"\S+", prompt.answer)][:-1]
        safe = _before_secrets(prompt)
        begins = [prompt.answer[:end] for end in ends[: self.words] if len(words(prompt.answer[:end])) <= safe]
        return [Query(prompt.question, begin=begins[-1])] if begins else []


def _before_secrets(prompt: Prompt) -> int:
    """How many of the answer's words come before its first fact, name or number; half of them where it has none."""
    said = words(prompt.answer)
    parts = [fact.split() for fact in marked(prompt)]
    starts = [i for part in parts for i in range(len(said)) if said[i : i + len(part)] == part]
    return min(starts, default=len(said) // 2)
