"""Triplets, what a model itself says of a target: facts in both directions and sentences, as text to forget (arXiv 2509.15621)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.synthesis.base import Writer, writer

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

WAYS = ("questions", "request")
FACTS = "List facts about {target}, one in a line, as subject | relation | object."
TOLD = "What is known about {target}?"
SHOT = (
    FACTS.replace("{target}", "Tilda Marrow"),
    "Tilda Marrow | was born in | Ostrand\nTilda Marrow | plays | the viola\nJory Pell | was taught by | Tilda Marrow",
)
BLANK = "___"
Row = tuple[str, str]  # question and answer


@writer(
    "triplets",
    summary="what the model itself says of each source: facts asked from the source, and from the fact; sentences",
    paper="Yamashita et al. 2025 (Concept unlearning), arXiv 2509.15621",
    formula="(s, r, o) ~ theta_0( . | target); rows (s r ___ -> o), (___ r o -> s), (what is known of s? -> sentence)",
    source="the paper: triplets and explanatory sentences by the model, then any loss; two samples at .7 and all wordings are ours",
    rows=("75",),
    reading="by=questions asks the target all questions of the retain set about others, for models that follow no request: a question is the "
    "relation, and the answer is object and sentence. by=request asks for the triplets and sentences. Accuracy on edges and on nodes is that on rows of both "
    "directions: save them, and audit them as a forget file",
    writes="a fact from its target, the target from a fact, or what is known of the target",
    model=True,
    tells=True,
    tags=frozenset({"forget", "retain"}),
)
@dataclass(frozen=True)
class Triplets(Writer):
    """Needs `Known.original`; by "questions" also `Known.retain`, of which those are used that hold their source.

    The rows of a source stand under its first prompt; of the prompts nothing but the source is used.
    count: samples of each question or request.  temperature, max_new_tokens: of the sampling.  seed: of the samples.
    """

    by: str = "questions"
    count: int = 2
    temperature: float = 0.7
    max_new_tokens: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        if self.by not in WAYS:
            raise InputError(f"Writer option triplets:by must be {' or '.join(WAYS)}, got {self.by!r}.")
        self.check_counts("count", "max_new_tokens")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("original", "retain") if self.by == "questions" else ("original",)

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        if self.by == "questions" and not stems(known.retain):
            raise InputError(
                "Writer triplets finds no retain question that holds its source; give retain prompts with one, or take triplets:by=request."
            )
        return self.write_with(as_sampler(known.original), prompts, known.retain)

    def write_with(self, sampler: Sampler, prompts: Sequence[Prompt], retain: Sequence[Prompt]) -> list[Prompt]:
        """The same by an engine at hand; nothing for a prompt without a source."""
        first: dict[str, Prompt] = {}
        for prompt in sorted(prompts, key=lambda one: one.id):
            if prompt.source:
                first.setdefault(prompt.source, prompt)
        asked = [
            replace(one, id=f"{one.id}/{i}", question=query.text, asked=query, paraphrases=())
            for one in first.values()
            for i, query in enumerate(self.queries(one.source, retain))
        ]
        decoding = Decoding(temperature=self.temperature, max_new_tokens=self.max_new_tokens)
        texts = texts_of(sampler, asked, self.count, decoding, seed=self.seed)
        found: dict[str, list[Row]] = {source: [] for source in first}
        for prompt, said in zip(asked, texts, strict=True):
            for text in said:
                found[prompt.source] += self.rows_of(prompt.source, prompt.question, text)
        return [
            Prompt(self.row_id(one, number), question, answer, source=source)
            for source, one in first.items()
            for number, (question, answer) in enumerate(dict.fromkeys(found[source]), 1)
        ]

    def queries(self, target: str, retain: Sequence[Prompt]) -> list[Query]:
        """What the model is asked about a target."""
        if self.by == "questions":
            return [Query(stem.replace(BLANK, target)) for stem in stems(retain)]
        return [Query(FACTS.replace("{target}", target), turns=(SHOT,)), Query(TOLD.replace("{target}", target))]

    def rows_of(self, target: str, question: str, text: str) -> list[Row]:
        """The rows that an answer gives."""
        if self.by == "request" and question.startswith("List"):
            return [row for triplet in triplets(text, target) for row in both_ways(*triplet)]
        said = text.strip().split("\n", 1)[0].strip()
        if not said:
            return []
        if self.by == "request":
            return [(question, said)]
        masked = said if target in said else f"{question} {said}"
        return [(question, said), (f"Fill in the blank: {masked.replace(target, BLANK)}", target)]


def stems(retain: Sequence[Prompt]) -> list[str]:
    """The questions that hold their source, with a blank in its place, each once, in order."""
    return sorted({p.question.replace(p.source, BLANK) for p in retain if p.source and p.source in p.question})


def triplets(text: str, target: str) -> list[tuple[str, str, str]]:
    """The lines of a reply that are subject | relation | object, and have the target as subject or object.

    >>> triplets("Ada | was born in | Zorvik\\nBo | likes | tea\\nand so on", "Ada")
    [('Ada', 'was born in', 'Zorvik')]
    """
    found = []
    for line in text.splitlines():
        parts = [part.strip(" .\t-*()") for part in line.split("|")]
        if len(parts) == 3 and all(parts) and target.casefold() in (parts[0].casefold(), parts[2].casefold()):
            found.append((parts[0], parts[1], parts[2]))
    return found


def both_ways(subject: str, relation: str, thing: str) -> list[Row]:
    """A triplet asked from its subject and from its object."""
    return [
        (f"Fill in the blank: {subject} {relation} {BLANK}.", thing),
        (f"Fill in the blank: {BLANK} {relation} {thing}.", subject),
    ]
