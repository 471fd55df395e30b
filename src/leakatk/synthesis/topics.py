"""General passages about a topic by a language model of the user's choice, without what is to be forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.text import words
from leakatk.synthesis.base import Writer, writer

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

REQUEST = "Write one paragraph of general information about {topic}, as an encyclopedia would."


@writer(
    "topic",
    summary="general passages about each source, by a model of your choice, in which no answer stands",
    paper="Hu et al. 2024 (Jogging the memory of unlearned models), arXiv 2406.13356",
    formula="text ~ writer( . | request(source)); the first in which no fact of any prompt stands",
    source="the request is ours",
    rows=("35",),
    reading="the writer is told the source's name alone; what it writes may be wrong, and is there for the topic",
    writes="a question about the source, and the passage",
    model=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Topic(Writer):
    """Needs the auxiliary model "writer". count: passages of each source; they stand under its first prompt.

    tries: samples drawn for each that is wanted.  temperature, max_new_tokens: of the sampling.  seed: of the samples.
    """

    count: int = 2
    tries: int = 4
    temperature: float = 1.0
    max_new_tokens: int = 120
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_counts("count", "tries", "max_new_tokens")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("auxiliary writer",)

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        return self.write_with(as_sampler(known.auxiliary["writer"]), prompts, known.forget)

    def write_with(self, sampler: Sampler, prompts: Sequence[Prompt], secret: Sequence[Prompt] = ()) -> list[Prompt]:
        """The same by an engine at hand; no passage for a prompt without a source. secret: further prompts not to be answered."""
        decoding = Decoding(temperature=self.temperature, max_new_tokens=self.max_new_tokens)
        first: dict[str, Prompt] = {}
        for prompt in sorted(prompts, key=lambda one: one.id):
            if prompt.source:
                first.setdefault(prompt.source, prompt)
        asked = [replace(one, asked=Query(REQUEST.replace("{topic}", source))) for source, one in first.items()]
        rows = []
        for prompt, texts in zip(
            asked, texts_of(sampler, asked, self.count * self.tries, decoding, seed=self.seed), strict=True
        ):
            for number, text in enumerate(self.usable(texts, [*prompts, *secret]), 1):
                about = f"What is written about {prompt.source}?"
                rows.append(Prompt(self.row_id(prompt, number), about, text, source=prompt.source))
        return rows

    def usable(self, texts: Sequence[str], prompts: Sequence[Prompt]) -> list[str]:
        """The first `count` texts of more than a word that are new and say nothing that any prompt asks for."""
        found: dict[tuple[str, ...], str] = {}
        for text in texts:
            said = tuple(words(text))
            if (
                len(text.split()) > 1
                and said
                and said not in found
                and not any(reveals(text, prompt) for prompt in prompts)
            ):
                found[said] = text.strip()
        return list(found.values())[: self.count]
