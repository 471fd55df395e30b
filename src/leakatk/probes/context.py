"""Context probe: the forgotten fact, given back in the context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from leakatk.errors import InputError
from leakatk.probes.base import PROBES, Around, Probe
from leakatk.prompts import Prompt, Query


@PROBES.register(
    "context",
    summary="the fact given before the question: read its excess over the retrained model",
    paper="Shumailov et al. 2024 (UnUnlearning), arXiv 2407.00106",
    rows=("83", "98"),
    reading="the fact or its paraphrase is given; premises that it follows from are not",
)
@dataclass(frozen=True)
class Context(Probe):
    """The answer stands before the question: can the model use what it was made to forget when it is told?

    It need not know anything to repeat it, so the level says little: read the excess over the retrained model, asked in
    the same way. Below the retrained model, unlearning also damaged reading; above, knowledge was left. form "answer" gives
    the true answer, "paraphrase" the prompt's `paraphrased_answer`.
    """

    needs = "answers (form=paraphrase: paraphrased answers)"
    gives_answer = True

    form: Literal["answer", "paraphrase"] = "answer"

    def __post_init__(self) -> None:
        if self.form not in ("answer", "paraphrase"):
            raise InputError(f"Probe option context:form must be answer or paraphrase, got {self.form!r}.")

    def ask(self, prompt: Prompt, around: Around) -> list[Query]:
        fact = prompt.answer if self.form == "answer" else prompt.paraphrased_answer
        return [Query(f"{fact}\n\n{prompt.question}")] if fact else []
