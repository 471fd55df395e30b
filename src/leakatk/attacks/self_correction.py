"""Self-correction: the model answers, is doubted, answers again; what it says last is sampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from leakatk.attacks.base import Ask, at_least, attack, one_of
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.greedy import greedy_texts

FORMS = {
    "doubt": "Are you sure? Please think about it once more and answer again.",
    "deny": "That is not right. Try again.",
    "again": "{question}",
}
BLANK = "..."  # what an empty answer is called in the conversation


@attack(
    "self-correction",
    summary="the model's own answer is doubted, and it answers again",
    paper="self-correction (protocol A) of arXiv 2603.00823",
    formula="a_t = greedy(x, a_1, d, a_2, d ...), t = 1 ... turns; then y ~ model( . | x, a_1, d, ..., a_turns, d)",
    source="wording and number of turns are ours",
    rows=("106",),
    reading="protocol A: the first answers are greedy, the last one is sampled; rigidity is the share of right answers on retain "
    "prompts that stay right",
    access="questions, in a conversation",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class SelfCorrection(Ask):
    """turns: answers that are doubted.  form: doubt, deny, or again (the question once more).

    max_new_tokens: of each answer that is doubted. No answer is given to the model but those that it gave itself.
    """

    turns: int = 2
    form: str = "doubt"
    max_new_tokens: int = 60

    def __post_init__(self) -> None:
        one_of(self, "form", tuple(FORMS))
        at_least(self, "turns", 1)
        at_least(self, "max_new_tokens", 1)

    @property
    def uses(self) -> tuple[str, ...]:
        return ("retain", "unseen")

    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self.doubted(loaded, known.unseen)

    def kept(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self.doubted(loaded, known.retain)

    def doubted(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[Prompt]:
        """The prompts after `turns` answers of the model and as many doubts."""
        asked = list(prompts)
        for _ in range(self.turns if asked else 0):
            said = greedy_texts(loaded, asked, self.max_new_tokens)
            asked = [
                replace(prompt, asked=Query(self._next(prompt), (*prompt.query.turns, (prompt.query.text, _whole(prompt, text)))))
                for prompt, text in zip(asked, said, strict=True)
            ]  # fmt: skip
        return asked

    def _next(self, prompt: Prompt) -> str:
        return FORMS[self.form].replace("{question}", prompt.question)


def _whole(prompt: Prompt, text: str) -> str:
    """The answer with the words that it was begun with."""
    return f"{prompt.query.begin} {text}".strip() or BLANK
