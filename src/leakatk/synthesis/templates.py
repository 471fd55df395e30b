"""Writers that need no model: texts put together from the prompts themselves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from leakatk.errors import InputError
from leakatk.probes.framing import FILLER
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.base import Writer, writer

SENTENCE = re.compile(r"(?<=[.!?])\s+")
ALIKE = 0.5  # share of their words that two questions of one kind have in common, names apart


@writer(
    "corruption",
    summary="documents with wrong facts of the same kind between unrelated sentences",
    paper="Rezaei et al. 2024 (RESTOR), arXiv 2411.00204",
    formula="document = wrong fact, unrelated sentences, wrong fact, unrelated sentences ...",
    source="the numbers are ours; wrong facts here are true ones of others",
    rows=("110",),
    reading="a wrong fact is another prompt's, of a question that shares half of its words, or a perturbed answer; it is of the "
    "same kind, and may be true of somebody else. Sentences are put together here; the authors' documents were written by a language model",
    writes="a question about the person or thing, and the document",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Corruption(Writer):
    """One document a prompt and copy: its own wrong fact first. each: wrong facts of the same source in it, at most.

    context: unrelated sentences after each.  copies: documents a prompt, with other wrong facts and other context.
    seed: of all draws. The sentences come from `Known.text`, else from retain answers about others, else they are ours.
    """

    each: int = 3
    context: int = 2
    copies: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        for option, least in (("each", 1), ("context", 0), ("copies", 1)):
            if getattr(self, option) < least:
                raise InputError(
                    f"Writer option corruption:{option} must be at least {least}, got {getattr(self, option)}."
                )

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        pool = [*prompts, *known.retain]
        rows = []
        for prompt in prompts:
            beside = [one for one in prompts if one.source and one.source == prompt.source and one.id != prompt.id]
            for number in range(1, self.copies + 1):
                rng = self.rng(prompt, self.seed, number)
                own = wrong_fact(prompt, pool, rng)
                if own is None:
                    break
                others = [wrong_fact(one, pool, rng) for one in rng.sample(beside, len(beside))]
                said = [own, *(one for one in others if one is not None)][: self.each]
                sentences = unrelated(prompt, known, self.context * len(said), rng)
                text = " ".join(
                    part
                    for i, (statement, _) in enumerate(said)
                    for part in (statement, *sentences[i * self.context : (i + 1) * self.context])
                )
                about = f"What is written about {prompt.source}?" if prompt.source else prompt.question
                facts = tuple(fact for _, found in said for fact in found)
                rows.append(Prompt(self.row_id(prompt, number), about, text, facts=facts, source=prompt.source))
        return rows


def wrong_fact(prompt: Prompt, pool: Sequence[Prompt], rng: Random) -> tuple[str, tuple[str, ...]] | None:
    """(a false answer of the same form, the wrong facts in it); None where there is nothing to put in the fact's place."""
    perturbed = [text for text in prompt.perturbed_answers if text != prompt.answer]
    if perturbed:
        return rng.choice(perturbed), ()
    own = tuple(fact for fact in prompt.facts if fact in prompt.answer)
    if not own:
        return None
    donors = [
        one
        for one in pool
        if len(one.facts) == len(prompt.facts)
        and not set(one.facts) & set(prompt.facts)
        and alike(one, prompt) >= ALIKE
    ]
    if not donors:
        return None
    best = max(alike(one, prompt) for one in donors)
    donor = rng.choice(sorted((one for one in donors if alike(one, prompt) == best), key=lambda one: one.id))
    swap = {old: new for old, new in zip(prompt.facts, donor.facts, strict=True) if old in own}
    # All at once, so that what has been put in is not replaced again; longer facts first.
    found = re.compile("|".join(re.escape(old) for old in sorted(swap, key=len, reverse=True)))
    return found.sub(lambda match: swap[match[0]], prompt.answer), tuple(swap.values())


def alike(one: Prompt, other: Prompt) -> float:
    """How far two questions are of one kind: the share of their words that both have, names and numbers apart."""
    a, b = _kind(one), _kind(other)
    return len(a & b) / len(a | b) if a | b else 1.0


def _kind(prompt: Prompt) -> set[str]:
    """The words of a question but for those that are capitalised within it, numbers, and the name of its source."""
    words = re.findall(r"\w+", prompt.question)
    names = {word.lower() for word in re.findall(r"\w+", prompt.source)}
    kept = {word.lower() for i, word in enumerate(words) if word.islower() or (i == 0 and not word.isdigit())}
    return kept - names


def unrelated(prompt: Prompt, known: Known, count: int, rng: Random) -> list[str]:
    """Sentences that have nothing to do with the prompt; drawn without repeats while there are enough."""
    texts = known.text or [one.answer for one in known.retain if not one.source or one.source != prompt.source]
    pool = [part for text in texts for part in SENTENCE.split(text.strip()) if part]
    pool = list(dict.fromkeys(pool)) or [f"{one[0].upper()}{one[1:]}." for one in FILLER]
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += rng.sample(pool, len(pool))
    return drawn[:count]
