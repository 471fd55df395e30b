"""Inverted facts: wrong answers to each question, of which those are kept that the model says most or least readily."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from leakatk.prompts import Known, Prompt
from leakatk.synthesis.base import Writer, writer
from leakatk.synthesis.generated import Alternates
from leakatk.synthesis.memo import STEP, memo_of
from leakatk.synthesis.select import usable
from leakatk.synthesis.templates import wrong_fact

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

BY, PICK = ("templates", "original", "writer"), ("least", "most", "first")


@writer(
    "inverted",
    summary="wrong answers to each question, those that the model memorised least or most",
    paper="Gu et al. 2024 (MEOW), arXiv 2409.11844",
    formula="the `count` of several wrong answers a with the smallest MEMO(a) = mean over beginnings of ROUGE-1(greedy continuation, rest of a)",
    source="the authors' code: 3 of 4 answers, the smallest by default, cuts every 5 characters, precision of up to 200 tokens; the request is ours",
    rows=("100",),
    reading="by=templates puts another prompt's fact of the same kind in place of the true one, and a perturbed answer is one too; by=original and by=writer "
    "ask a model, as the authors ask GPT-4. An end token is not counted as a word said",
    writes="the question, and a wrong answer to it",
    model=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Inverted(Writer):
    """Needs `Known.original`, which MEMO is measured on. by: templates, original (that model) or writer (the auxiliary model of that name).

    candidates: wrong answers of each question.  count: those kept.  pick: least or most (by MEMO), or first (no MEMO is measured).
    step: characters between beginnings.  tries: samples or draws for each candidate.  max_new_tokens: of a continuation and of an
    answer that a model writes.  seed: of all draws.
    """

    by: str = "templates"
    candidates: int = 4
    count: int = 3
    pick: str = "least"
    step: int = STEP
    tries: int = 4
    max_new_tokens: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_choice("by", BY)
        self.check_choice("pick", PICK)
        self.check_counts("candidates", "count", "step", "tries", "max_new_tokens")

    @property
    def needs(self) -> tuple[str, ...]:
        original = ("original",) if self.pick != "first" or self.by == "original" else ()
        return (*original, *(("auxiliary writer",) if self.by == "writer" else ()))

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        own = as_sampler(known.original) if "original" in self.needs else None
        return self.write_with(own, prompts, known)

    def write_with(
        self, sampler: Sampler | None, prompts: Sequence[Prompt], known: Known | None = None
    ) -> list[Prompt]:
        """The same by an engine of the original at hand; no row for a prompt without a wrong answer of use."""
        known = known or Known()
        known.need(f"Writer {self.label}", *(name for name in self.needs if name != "original"))
        found = self.wrong_answers(sampler, prompts, known)
        if self.pick != "first" and sampler is not None:
            each = [replace(p, answer=text) for p, texts in zip(prompts, found, strict=True) for text in texts]
            values = iter(memo_of(sampler, each, self.step, self.max_new_tokens))
            found = [self.picked(texts, [next(values) for _ in texts]) for texts in found]
        return [
            Prompt(self.row_id(prompt, number), prompt.question, text, source=prompt.source)
            for prompt, texts in zip(prompts, found, strict=True)
            for number, text in enumerate(texts[: self.count], 1)
        ]

    def wrong_answers(self, sampler: Sampler | None, prompts: Sequence[Prompt], known: Known) -> list[list[str]]:
        """At most `candidates` wrong answers of each prompt; none said twice, none with a fact of the true one."""
        if self.by != "templates":
            from leakatk.auditing.sample import as_sampler

            scribe = as_sampler(known.auxiliary["writer"]) if self.by == "writer" else sampler
            assert scribe is not None  # by=original needs one
            asking = Alternates(self.candidates, 1, self.tries, max_new_tokens=self.max_new_tokens, seed=self.seed)
            return asking.answers(scribe, prompts)
        pool, draws = [*prompts, *known.retain], range(self.candidates * self.tries)
        rows = []
        for prompt in prompts:
            drawn = [wrong_fact(prompt, pool, self.rng(prompt, self.seed, number)) for number in draws]
            rows.append(usable(prompt, [one[0] for one in drawn if one is not None], self.candidates))
        return rows

    def picked(self, texts: Sequence[str], values: Sequence[float]) -> list[str]:
        """The texts by their MEMO, smallest first, or largest for `most`; those as large in their order, those without one last."""
        sign = 1.0 if self.pick == "least" else -1.0
        order = np.argsort(sign * np.array(values), kind="stable")
        return [texts[i] for i in order]
