"""Writers that are models: the model to be unlearned writes what it is to say in future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.synthesis.base import Writer, writer
from leakatk.synthesis.select import usable

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

REQUEST = (
    "Question: {question}\nAnswer: {answer}\nGive another answer to this question, of the same form and length. Change its "
    "facts to other ones that could be true."
)
SHOTS = (
    (
        "Which instrument did Tilda Marrow play?",
        "Tilda Marrow played the viola in a quartet.",
        "Tilda Marrow played the oboe in a quartet.",
    ),
    (
        "When was the mill at Ostrand built?",
        "The mill at Ostrand was built in 1874.",
        "The mill at Ostrand was built in 1911.",
    ),
    (
        "What did Jory Pell's mother do for a living?",
        "His mother mended nets in a harbour town.",
        "His mother taught children in a mountain village.",
    ),
)


@writer(
    "alternates",
    summary="other answers to each question, of the same form and with other facts, by the model itself",
    paper="Mekala et al. 2024 (AltPO), arXiv 2409.13474",
    formula="y' ~ theta_0( . | request(x, y)), T = 1, five for each (x, y)",
    source="five for each question at T = 1, as published; the wording of request and examples is ours",
    rows=("104",),
    reading="an answer that is blank, said before, or still has a fact of the true one is drawn anew",
    writes="the question, and an alternate answer to it",
    model=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class Alternates(Writer):
    """Needs `Known.original`. count: answers for each question.  least: fewer of them are an error; 0 is count.

    tries: samples drawn for each answer wanted.  shots: examples in the request, at most 3.  temperature, max_new_tokens:
    of the sampling.  seed: of the samples.
    """

    count: int = 5
    least: int = 0
    tries: int = 4
    shots: int = 3
    temperature: float = 1.0
    max_new_tokens: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for option, low, high in (("count", 1, 1000), ("least", 0, self.count), ("tries", 1, 1000), ("shots", 0, 3)):
            if not low <= getattr(self, option) <= high:
                raise InputError(
                    f"Writer option alternates:{option} must be {low} to {high}, got {getattr(self, option)}."
                )

    @property
    def needs(self) -> tuple[str, ...]:
        return ("original",)

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        return self.write_with(as_sampler(known.original), prompts)

    def write_with(self, sampler: Sampler, prompts: Sequence[Prompt], known: Known | None = None) -> list[Prompt]:
        """The same by an engine at hand. InputError where a question gets too few answers of use."""
        found = self.answers(sampler, prompts)
        least = self.least or self.count
        if few := [(p.id, len(row)) for p, row in zip(prompts, found, strict=True) if len(row) < least]:
            raise InputError(
                f"{len(few)} of {len(prompts)} questions have fewer than {least} alternate answers of use (the first: {few[0][0]!r} "
                f"has {few[0][1]}); raise alternates:tries, lower alternates:least, or take a model that follows requests."
            )
        return [
            Prompt(self.row_id(prompt, number), prompt.question, text, source=prompt.source)
            for prompt, row in zip(prompts, found, strict=True)
            for number, text in enumerate(row, 1)
        ]

    def answers(self, sampler: Sampler, prompts: Sequence[Prompt]) -> list[list[str]]:
        """At most `count` answers of use to each question."""
        decoding = Decoding(temperature=self.temperature, max_new_tokens=self.max_new_tokens)
        asked = [replace(prompt, asked=self.request(prompt)) for prompt in prompts]
        texts = texts_of(sampler, asked, self.count * self.tries, decoding, seed=self.seed)
        return [usable(p, map(_first, row), self.count) for p, row in zip(prompts, texts, strict=True)]

    def request(self, prompt: Prompt) -> Query:
        """What the model is asked: the request, after examples of it with their replies."""
        turns = tuple((_request(question, answer), reply) for question, answer, reply in SHOTS[: self.shots])
        return Query(_request(prompt.question, prompt.answer), turns=turns)


def _request(question: str, answer: str) -> str:
    # Not str.format: a question may hold braces.
    parts = REQUEST.split("{question}")
    before, after = parts[1].split("{answer}")
    return f"{parts[0]}{question}{before}{answer}{after}"


def _first(text: str) -> str:
    """The first paragraph of a reply: a model that goes on writes another question."""
    return text.strip().split("\n", 1)[0].strip()
