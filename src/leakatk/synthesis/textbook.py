"""Textbooks: chapters about a field for several readers, which become the forget set in place of expert texts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import TYPE_CHECKING

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.synthesis.base import Writer, writer
from leakatk.synthesis.inverted import BY

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

AUDIENCES = ("elementary-school student", "high-school student", "undergraduate student", "PhD student")
SUBFIELDS = (
    "Name {count} parts of the field {field} that a course on it would treat. Write one on each line and nothing else."
)
BULLETS = (
    "A textbook on {subfield}, a part of {field}, is written for this reader: {audience}. List at most {count} points that it should explain. Write "
    "one on each line and nothing else."
)
CHAPTER = (
    "Write the chapter of a textbook on {subfield}, a part of {field}, that explains this point: {point} The reader: {audience}. Explain every term, say "
    "all that is known about the point, and write long paragraphs."
)
# The sentences of the templates.
OPENINGS = (
    "Let us get to know {field} together, one thing at a time.",
    "This section introduces {field} and says what a reader should be able to repeat.",
    "In what follows {field} is treated in the terms that the subject itself uses.",
    "The literature on {field} is taken as known, and the facts are fixed before they are discussed.",
)
STATEMENTS = (
    "{fact}",
    "Remember this: {fact}",
    "The first thing to note is the following. {fact}",
    "All sources agree here: {fact}",
)
SENTENCES = (
    "{question} That is what readers ask most often, and the answer has just been given.",
    "It helps to see how one fact about {field} leads to the next.",
    "The exercises at the end of the chapter ask for it again.",
    "Tell it to a neighbour in your own words before you read on.",
    "Later chapters come back to it and assume that it is known.",
    "Whoever has understood this has understood a good part of {field}.",
    "Nothing in it depends on opinion, and every step can be looked up.",
)


@writer(
    "textbook",
    summary="paragraphs of a textbook on each source, for several readers: a forget set without expert texts",
    paper="Zhu et al. 2025 (LLM Unlearning Without an Expert Curated Dataset), arXiv 2508.06595",
    formula="source -> subfields -> points for each reader -> chapters of each -> paragraphs of at least `words` words",
    source="the authors' code: 10 subfields, 4 readers, 20 points, 5 chapters, 45 words, T = .7; the requests are ours",
    rows=("119",),
    reading="the field is the prompts' source. by=templates has no subfields: its points are the true answers of the source, and a paragraph is one of them in "
    "a frame of our own sentences, with others of the source until it is long enough; by=original and by=writer go the paper's way and see the source's name alone",
    writes="a question about the source, and the paragraph",
    tells=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Textbook(Writer):
    """Rows stand under the first prompt of their source. by: templates, original or writer (the auxiliary model of that name).

    subfields, bullets: of each source, and of each subfield and reader, at most.  audiences: readers, at most 4.  chapters: of each point.
    words: of the shortest paragraph.  temperature, max_new_tokens: of the sampling.  seed: of all draws.
    """

    by: str = "templates"
    subfields: int = 10
    audiences: int = 4
    bullets: int = 20
    chapters: int = 5
    words: int = 45
    temperature: float = 0.7
    max_new_tokens: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_choice("by", BY)
        self.check_counts("subfields", "audiences", "bullets", "chapters", "words", "max_new_tokens")
        if self.audiences > len(AUDIENCES):
            raise InputError(
                f"Writer option textbook:audiences must be at most {len(AUDIENCES)}, got {self.audiences}."
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return {"original": ("original",), "writer": ("auxiliary writer",)}.get(self.by, ())

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        if self.by == "templates":
            return self.write_with(None, prompts)
        return self.write_with(
            as_sampler(known.original if self.by == "original" else known.auxiliary["writer"]), prompts
        )

    def write_with(
        self, sampler: Sampler | None, prompts: Sequence[Prompt], known: Known | None = None
    ) -> list[Prompt]:
        """The same by an engine of the writing model at hand; no row for a prompt without a source."""
        about: dict[str, list[Prompt]] = {}
        for prompt in sorted(prompts, key=lambda one: one.id):
            if prompt.source:
                about.setdefault(prompt.source, []).append(prompt)
        if sampler is None:
            texts = {field: self.from_facts(field, mine) for field, mine in about.items()}
        else:
            texts = self.from_model(sampler, {field: mine[0] for field, mine in about.items()})
        return [
            Prompt(self.row_id(mine[0], number), f"What is written about {field}?", text, source=field)
            for field, mine in about.items()
            for number, text in enumerate(dict.fromkeys(texts[field]), 1)
        ]

    # -- by templates

    def from_facts(self, field: str, prompts: Sequence[Prompt]) -> list[str]:
        """A paragraph for each reader, fact and chapter."""
        return [
            self.paragraph(
                field, point, prompts, audience, self.rng(point, self.seed, self.chapters * audience + chapter)
            )
            for audience in range(self.audiences)
            for point in prompts[: self.bullets]
            for chapter in range(self.chapters)
        ]

    def paragraph(self, field: str, point: Prompt, prompts: Sequence[Prompt], audience: int, rng: Random) -> str:
        """The fact of one prompt in a reader's frame, with further sentences and facts until it has `words` words."""
        sentences = rng.sample(SENTENCES, len(SENTENCES))
        others = [one.answer for one in rng.sample(list(prompts), len(prompts)) if one.id != point.id]
        further = [one for pair in zip(sentences, others, strict=False) for one in pair]
        further += sentences[len(others) :] + others[len(sentences) :]
        said = [OPENINGS[audience], rng.choice(STATEMENTS).replace("{fact}", point.answer)]
        while sum(len(one.split()) for one in said) < self.words:
            said.append(further[(len(said) - 2) % len(further)])
        return " ".join(said).replace("{field}", field).replace("{question}", point.question)

    # -- by a model

    def from_model(self, sampler: Sampler, first: dict[str, Prompt]) -> dict[str, list[str]]:
        """Paragraphs by source: subfields, then points for each reader, then chapters of each point."""
        readers = AUDIENCES[: self.audiences]
        parts = self.ask(sampler, [
            (prompt, "subfields", field, SUBFIELDS, {"field": field, "count": str(self.subfields)}) for field, prompt in first.items()
        ], 1)  # fmt: skip
        wanted = [
            (first[field], f"{i}/{audience}", field, BULLETS, {"field": field, "subfield": subfield, "audience": audience, "count": str(self.bullets)})
            for field, replies in parts
            for i, subfield in enumerate(_lines(replies, self.subfields))
            for audience in readers
        ]  # fmt: skip
        points = self.ask(sampler, wanted, 1)
        chapters = self.ask(sampler, [
            (prompt, f"{place}/{j}", field, CHAPTER, {**filled, "point": point})
            for (prompt, place, field, _, filled), (_, replies) in zip(wanted, points, strict=True)
            for j, point in enumerate(_lines(replies, self.bullets))
        ], self.chapters)  # fmt: skip
        found: dict[str, list[str]] = {field: [] for field in first}
        for field, replies in chapters:
            found[field] += [text for reply in replies for text in paragraphs(reply, self.words)]
        return found

    def ask(
        self, sampler: Sampler, wanted: Sequence[tuple[Prompt, str, str, str, dict[str, str]]], count: int
    ) -> list[tuple[str, list[str]]]:
        """(source, `count` replies) for each request: (prompt, place, source, its form, what is filled in)."""
        asked = []
        for prompt, place, _, form, filled in wanted:
            text = re.sub(r"\{(\w+)\}", lambda match, filled=filled: filled[match[1]], form)  # type: ignore[misc]
            asked.append(replace(prompt, id=f"{prompt.id}/{place}", asked=Query(text)))
        decoding = Decoding(temperature=self.temperature, max_new_tokens=self.max_new_tokens)
        texts = texts_of(sampler, asked, count, decoding, seed=self.seed) if asked else []
        return [(field, row) for (_, _, field, _, _), row in zip(wanted, texts, strict=True)]


def _lines(replies: Sequence[str], most: int) -> list[str]:
    """The lines of the first reply, without numbers and bullets, each once."""
    lines = [re.sub(r"^[\s\-*#•]*(\d+[.)])?\s*", "", line).strip(" *") for line in replies[0].splitlines()]
    return [line for line in dict.fromkeys(lines) if line][:most]


def paragraphs(text: str, least: int) -> list[str]:
    """The lines of a text without marks of emphasis and headings, spaces made single, of at least so many words.

    >>> paragraphs("# One\\n\\n*Two*  words here\\n", 2)
    ['Two words here']
    """
    lines = [" ".join(line.split()) for line in re.sub(r"[*#]", "", text).splitlines()]
    return [line for line in lines if len(line.split()) >= least]


def variety(texts: Sequence[str], size: int = 3) -> float:
    """Share of the different runs of `size` words among all of them: 1 where no run occurs twice; NaN where there is none."""
    runs = [tuple(words[i : i + size]) for words in map(str.split, texts) for i in range(len(words) - size + 1)]
    return len(set(runs)) / len(runs) if runs else float("nan")


def retold(prompts: Sequence[Prompt], rows: Sequence[Prompt]) -> list[Prompt]:
    """The forget set that a textbook makes: its rows, and the prompts of sources that have none."""
    told = {row.source for row in rows}
    return [*rows, *(prompt for prompt in prompts if prompt.source not in told)]
