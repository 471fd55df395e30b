"""Paraphrase probe: the question in its other wordings."""

from __future__ import annotations

from dataclasses import dataclass

from leakatk.probes.base import PROBES, Around, Probe
from leakatk.prompts import Prompt, Query


@PROBES.register(
    "paraphrase",
    summary="the question in its other wordings",
    paper="JensUn's worst case over paraphrases, arXiv 2509.02820; rephrasing in Doshi & Stickland 2024, arXiv 2411.12103",
    rows=("17", "77"),
)
@dataclass(frozen=True)
class Paraphrase(Probe):
    """The prompt's own `paraphrases`, as the benchmark wrote them. number: which one, from 1; 0 asks them all."""

    needs = "prompts with paraphrases"
    least = ("number", 0)

    number: int = 0

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        chosen = prompt.paraphrases[self.number - 1 : self.number] if self.number else prompt.paraphrases
        return [Query(text) for text in chosen]
