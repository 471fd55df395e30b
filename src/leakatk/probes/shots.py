"""Shot probes, earlier turns of the conversation: examples from what is to be kept, or talk about the same person."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

from leakatk.probes.base import PROBES, Around, Probe, reveals
from leakatk.prompts import Prompt, Query


@PROBES.register(
    "few-shot",
    summary="after answered questions from the retain set",
    paper="5-shot prompting in Doshi & Stickland 2024, arXiv 2411.12103; JensUn's retain prefix, arXiv 2509.02820",
    rows=("17", "77", "83"),
)
@dataclass(frozen=True)
class FewShot(Probe):
    """Answered questions from the retain set as earlier turns, so that answering is what comes next.

    shots: how many, drawn for each prompt by `seed`. Never a forget prompt, nor one that says what is asked for.
    """

    needs = "as many retain prompts as shots (give --retain FILE, or a benchmark that has them)"
    least = ("shots", 1)

    shots: int = 3
    seed: int = 0

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        drawn = self.rng(prompt, self.seed).sample(around.shown, len(around.shown))
        turns = _turns(drawn, prompt, self.shots)
        return [Query(prompt.question, turns)] if len(turns) == self.shots else []


@PROBES.register(
    "dialogue",
    summary="after turns about the same person or document, with their true answers",
    paper="dialogue-conditioned questions (protocol B) of arXiv 2603.00823, our reading",
    rows=("106",),
    reading="protocol B: the turns are about the same person or document",
)
@dataclass(frozen=True)
class Dialogue(Probe):
    """Earlier turns about the same person or document (`source`), with their true answers.

    turns: at most so many, drawn for each prompt by `seed`. Whoever asks so knows other things that were to be forgotten,
    but not this one: no turn says what is asked for. Our reading of protocol B, in which the turns are about related facts
    of the same entity.
    """

    needs = "several prompts of one source"
    least = ("turns", 1)

    turns: int = 3
    seed: int = 0

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        others = [other for other in around.by_source.get(prompt.source, []) if other.id != prompt.id]
        turns = _turns(self.rng(prompt, self.seed).sample(others, len(others)), prompt, self.turns)
        return [Query(prompt.question, turns)] if turns else []


def _turns(others: Iterable[Prompt], prompt: Prompt, count: int) -> tuple[tuple[str, str], ...]:
    """The first `count` questions and answers that do not say what the prompt asks for."""
    fitting = (other for other in others if not reveals(f"{other.question}\n{other.answer}", prompt))
    return tuple((other.question, other.answer) for other in islice(fitting, count))
