"""Rewriting: questions that a language model of the user's choice puts in another form, or in another language."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from leakatk.attacks.base import Ask, attack
from leakatk.attacks.inputs import asked_with
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.synthesis.rewriting import Rewrite as RewriteWriter


@attack(
    "rewrite",
    summary="the question as a language model rewrites it: a conversation, a poem, plainly, by steps, or translated",
    paper="rephrasings of Doshi & Stickland 2024, arXiv 2411.12103; question categories of Sleek, arXiv 2506.17279",
    formula="x' ~ writer( . | request(x)), asked in place of x",
    source="the forms are the papers'; the requests are ours",
    rows=("17", "83", "118"),
    reading="the writer is shown the question alone, never the answer; a prompt for which it writes nothing of use is left out",
    access="questions, and another language model",
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack rewrite --auxiliary writer=MODEL --out runs/rewritten",
)
@dataclass(frozen=True)
class Rewrite(Ask):
    """Needs the auxiliary model "writer". form: conversation, poem, plain, translation, direct, indirect or implied.

    language: of a translation.  tries: samples drawn for each question, of which the first of use is asked.
    max_new_tokens: of each.  seed: of the samples.  names: whether a rewriting must name whom the question names.
    """

    form: str = "conversation"
    language: str = "French"
    tries: int = 4
    max_new_tokens: int = 200
    seed: int = 0
    names: bool = True

    def __post_init__(self) -> None:
        self.writer()  # which checks the options

    @property
    def needs(self) -> tuple[str, ...]:
        return ("auxiliary writer",)

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "retain", "unseen")

    def writer(self) -> RewriteWriter:
        return RewriteWriter(
            self.form,
            self.language,
            tries=self.tries,
            max_new_tokens=self.max_new_tokens,
            seed=self.seed,
            names=self.names,
        )

    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self._rewritten(known.unseen, known)

    def kept(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self._rewritten(known.retain, known)

    def _rewritten(self, prompts: Sequence[Prompt], known: Known) -> list[Prompt]:
        if not prompts:
            return []
        writer = self.writer()
        texts = {row.id: row.question for row in writer.write(prompts, known)}
        ids = [(prompt, writer.row_id(prompt, 1)) for prompt in prompts]
        return [replace(prompt, asked=asked_with(prompt, texts[i])) for prompt, i in ids if i in texts]
