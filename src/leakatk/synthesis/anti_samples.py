"""Anti-samples: a question in other words, a reason that misleads, and the wrong answer that it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.synthesis.base import Writer, writer
from leakatk.synthesis.inverted import BY, Inverted
from leakatk.synthesis.rewriting import Rewrite
from leakatk.synthesis.wordings import similarity

if TYPE_CHECKING:
    from leakatk.sampling.base import Sampler

REASONS = (
    "Several records agree on this, and none says otherwise.",
    "I looked at two accounts of it, and both come to the same.",
    "The oldest note about it leaves no doubt.",
    "What is often told instead goes back to a mix-up of names.",
    "It fits with everything else that is known here.",
)
REQUEST = "Question: {question}\nAnswer: {answer}\nGive the reasoning that leads to this answer, in one or two sentences. Take the answer for right."


@writer(
    "anti-samples",
    summary="each question in other words, with a reason that misleads and a wrong answer",
    paper="Sinha et al. 2024 (UnSTAR), arXiv 2410.17050",
    formula="(q*, r, a'): q* a wording of q far from it in letters, a' a wrong answer, r ~ writer( . | q, a')",
    source="the scheme is the paper's; how many, the request and the reasons of the templates are ours",
    rows=("81",),
    reading="by=templates takes the prompt's own wordings, the least like it first, another prompt's fact in place of the true one, and a reason that says "
    "nothing of the matter; by=original and by=writer have a model write all three, as the paper has. A reason with the true answer is drawn anew",
    writes="the question in other words; the reason and the wrong answer",
    rewords=True,
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class AntiSamples(Writer):
    """by: templates, original (the model to be unlearned) or writer (the auxiliary model of that name).

    wordings: of each question, itself the first of them.  reasons: whether a reason stands before the answer.  tries: samples or draws
    for each that is wanted.  max_new_tokens: of what a model writes.  seed: of all draws.
    """

    by: str = "templates"
    wordings: int = 4
    reasons: bool = True
    tries: int = 4
    max_new_tokens: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        self.check_choice("by", BY)
        self.check_counts("wordings", "tries", "max_new_tokens")

    @property
    def needs(self) -> tuple[str, ...]:
        return {"original": ("original",), "writer": ("auxiliary writer",)}.get(self.by, ())

    def write(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        from leakatk.auditing.sample import as_sampler

        known.need(f"Writer {self.label}", *self.needs)
        if self.by == "templates":
            return self.write_with(None, prompts, known)
        path = known.original if self.by == "original" else known.auxiliary["writer"]
        return self.write_with(as_sampler(path), prompts, known)

    def write_with(
        self, sampler: Sampler | None, prompts: Sequence[Prompt], known: Known | None = None
    ) -> list[Prompt]:
        """The same by an engine of the writing model at hand; no row for a prompt without a wrong answer of use."""
        wrong = Inverted(
            "templates" if self.by == "templates" else "original", self.wordings, pick="first", tries=self.tries,
            max_new_tokens=self.max_new_tokens, seed=self.seed,
        ).wrong_answers(sampler, prompts, known or Known())  # fmt: skip
        asked = self.asked(sampler, prompts)
        made = [
            replace(prompt, id=self.row_id(prompt, number), question=question, answer=texts[(number - 1) % len(texts)])
            for prompt, questions, texts in zip(prompts, asked, wrong, strict=True)
            if texts
            for number, question in enumerate(questions, 1)
        ]
        owners = {self.row_id(prompt, n): prompt for prompt in prompts for n in range(1, self.wordings + 1)}
        reasons = self.given_reasons(sampler, made, owners) if self.reasons else [""] * len(made)
        return [
            Prompt(row.id, row.question, f"{reason} {row.answer}".strip(), source=row.source)
            for row, reason in zip(made, reasons, strict=True)
            if reason or not self.reasons
        ]

    def asked(self, sampler: Sampler | None, prompts: Sequence[Prompt]) -> list[list[str]]:
        """Wordings of each question: itself, then the others, the least like it first; at most `wordings`."""
        found: dict[str, list[str]] = {prompt.id: list(prompt.paraphrases) for prompt in prompts}
        if sampler is not None and self.wordings > 1:
            scribe = Rewrite(
                "plain", count=self.wordings - 1, tries=self.tries, max_new_tokens=self.max_new_tokens, seed=self.seed
            )
            for row in scribe.write_with(sampler, prompts):
                found[row.id.rsplit("/", 2)[0]].append(row.question)
        rows = []
        for prompt in prompts:
            others = [text for text in dict.fromkeys(found[prompt.id]) if text.strip() and text != prompt.question]
            others = [text for text in others if not reveals(text, prompt)]
            others.sort(key=lambda text, own=prompt.question: similarity(own, text))  # type: ignore[misc]
            rows.append([prompt.question, *others][: self.wordings])
        return rows

    def given_reasons(self, sampler: Sampler | None, rows: Sequence[Prompt], owners: dict[str, Prompt]) -> list[str]:
        """A reason for the wrong answer of each row; "" where a model gives none that keeps the true answer to itself."""
        if sampler is None:
            return [self.rng(row, self.seed).choice(REASONS) for row in rows]
        asked = [replace(row, asked=Query(self.request(row))) for row in rows]
        decoding = Decoding(max_new_tokens=self.max_new_tokens)
        texts = texts_of(sampler, asked, self.tries, decoding, seed=self.seed) if asked else []
        return [
            next((said for text in row_texts if (said := _line(text)) and not reveals(said, owners[row.id])), "")
            for row, row_texts in zip(rows, texts, strict=True)
        ]

    def request(self, row: Prompt) -> str:
        """What a model is asked for a reason."""
        before, after = REQUEST.split("{question}")
        middle, end = after.split("{answer}")
        return f"{before}{row.question}{middle}{row.answer}{end}"  # not str.format: texts may hold braces


def _line(text: str) -> str:
    return text.strip().split("\n", 1)[0].strip()
