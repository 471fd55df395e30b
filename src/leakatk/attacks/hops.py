"""Hops: questions through other facts that the original knows, of two or three steps, or about a thing by another name."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from leakatk.attacks.base import Ask, at_least, attack, one_of
from leakatk.attacks.beside import answered, beside
from leakatk.attacks.inputs import asked_with
from leakatk.models.loaded import LoadedModel
from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt
from leakatk.scorers.text import phrase

WHO = re.compile(r"^(?:who|what|which)\s+(?:is|was|are|were)\s+(.+)\?$", re.IGNORECASE)
WHO_DID = re.compile(r"^who\s+(.+)\?$", re.IGNORECASE)


@attack(
    "hops",
    summary="questions through one or two other facts, or about a thing by another name, made from what the original knows",
    paper="The Unlearning Mirage",
    formula="x with its subject z replaced by d(e), e a known fact of which z is the value (2 steps), or by d(e) with the subject "
    "of e replaced so (3 steps), or by what else is known of z (name)",
    source="the graph is made of the prompts; what the original does not answer is left out, as in the paper; wording is ours",
    rows=("45",),
    reading="a fact of the graph is a prompt with a source and facts that the original answers; d(e) is the noun of a question "
    "'Who is ...?', else the quoted question; questions that the original answers neither are left out and counted",
    access="questions, and the model before unlearning to choose them (keep=yes)",
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack hops --original MODEL --retrained MODEL --out runs/hops",
)
@dataclass(frozen=True)
class Hops(Ask):
    """form: chain (through other facts) or name (the thing by what else is known of it).  steps: of a chain, 2 or 3.

    keep: only what the original answers (`Known.original`); without it all facts count as known.  tries: questions made for a
    prompt, of which the first that the original answers is asked.  max_new_tokens: of its greedy answers.  seed: of the order.
    """

    form: str = "chain"
    steps: int = 2
    keep: bool = True
    tries: int = 3
    max_new_tokens: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self, "form", ("chain", "name"))
        one_of(self, "steps", (2, 3))
        at_least(self, "tries", 1)
        at_least(self, "max_new_tokens", 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original") if self.keep else ("forget",)

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "retain", "unseen")

    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self._chosen(loaded, known.unseen, [*known.forget, *known.retain], known.original)

    def kept(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        """Through retained facts alone, so that nothing forgotten is needed for them."""
        return self._chosen(loaded, known.retain, known.retain, known.original)

    def _chosen(
        self, loaded: LoadedModel, prompts: Sequence[Prompt], facts: Sequence[Prompt], original: str
    ) -> list[Prompt]:
        judge = beside(loaded, original) if self.keep and prompts else None
        if judge is not None:
            right = answered(judge, facts, self.max_new_tokens)
            facts = [fact for fact, one in zip(facts, right, strict=True) if one]
        made = [self.made(prompt, facts) for prompt in prompts]
        if judge is None:
            return [row[0] for row in made if row]
        # Each question has an id of its own while the original is asked.
        every = [replace(one, id=f"{one.id}/{k}") for row in made for k, one in enumerate(row)]
        good = iter(answered(judge, every, self.max_new_tokens))
        marks = [[bool(next(good)) for _ in row] for row in made]
        return [
            next(one for one, right in zip(row, mark, strict=True) if right)
            for row, mark in zip(made, marks, strict=True)
            if any(mark)
        ]

    def made(self, prompt: Prompt, facts: Sequence[Prompt]) -> list[Prompt]:
        """At most `tries` such questions for a prompt, none of which says its answer."""
        if not prompt.source or prompt.source not in prompt.query.text:
            return []
        if self.form == "name":
            names = other_names(prompt, facts)
        else:
            names = descriptions(prompt.source, facts, self.steps - 1, (prompt.source,))
        texts = dict.fromkeys(prompt.query.text.replace(prompt.source, name) for name in names)
        fit = sorted(text for text in texts if prompt.source not in text and not reveals(text, prompt))
        Random(f"leakatk hops {self.seed} {prompt.id}").shuffle(fit)
        return [replace(prompt, asked=asked_with(prompt, text)) for text in fit[: self.tries]]


def descriptions(name: str, facts: Sequence[Prompt], steps: int, passed: tuple[str, ...]) -> Iterator[str]:
    """What a person or thing can be called by facts that lead to it, so many steps long and through nobody twice."""
    for fact in facts:
        leads = any(phrase(value) == phrase(name) for value in fact.facts)
        if (
            not leads
            or len(fact.facts) > 1
            or not fact.source
            or fact.source in passed
            or fact.source not in fact.question
        ):
            continue
        for start in (
            (fact.source,) if steps == 1 else descriptions(fact.source, facts, steps - 1, (*passed, fact.source))
        ):
            yield noun(fact.question.replace(fact.source, start))


def noun(question: str) -> str:
    """What a question asks for, as a noun: "the mentor of Bo", "the one who taught Bo", else the question in quotes."""
    if found := WHO.match(question.strip()):
        return found[1]
    if found := WHO_DID.match(question.strip()):
        return f"the one who {found[1]}"
    return f'the answer to "{question.strip()}"'


def other_names(prompt: Prompt, facts: Sequence[Prompt]) -> Iterator[str]:
    """The subject of a prompt by other facts about it, each true of nobody else among these facts."""
    for fact in facts:
        if fact.source != prompt.source or fact.id == prompt.id or not fact.facts:
            continue
        if any(set(fact.facts) <= set(other.facts) for other in facts if other.source != fact.source):
            continue
        said = fact.answer.strip().rstrip(".")
        if said.startswith(f"{fact.source} "):
            yield f"the one who {said.removeprefix(f'{fact.source} ')}"
        elif fact.source in said:
            yield f'the one of whom is said "{said.replace(fact.source, "they")}"'
