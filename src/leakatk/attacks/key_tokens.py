"""Key tokens: questions rebuilt around the words on which the answer hangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from leakatk.attacks.base import Ask, Cost, Floats, attack, one_of, reading_cost
from leakatk.attacks.beside import beside
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import token_stats
from leakatk.prompts import Known, Prompt, Query

FORMS = {"emphasise": "{question}\nThe words that matter: {words}.", "only": "{words}?"}
EDGES = ".,;:!?\"'()[]"


@attack(
    "key-tokens",
    summary="the question rebuilt around the words that the true answer depends on",
    paper="unPact",
    formula="C_i = log p(y|x) - log p(y|x without word i), mean over the tokens of y; key: C_i > threshold",
    source="the contribution is the paper's; threshold and wording are ours",
    rows=("20",),
    reading="a token is a word, so that what is rebuilt is text; masking a word is leaving it out; the attacked model itself "
    "says which are key (by=model), or the one before unlearning (by=original); where none passes the threshold the strongest "
    "word is key; recovery and destruction are counted on greedy answers",
    access="log-probabilities, with the true answers",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class KeyTokens(Ask):
    """threshold: the least contribution of a key word, in nats a token of the answer.

    form: emphasise (the question, then its key words) or only (the key words alone, in their order).  by: the model whose key
    words they are, the attacked model or the original (`Known.original`).
    """

    threshold: float = 0.1
    form: str = "emphasise"
    by: str = "model"

    def __post_init__(self) -> None:
        one_of(self, "form", tuple(FORMS))
        one_of(self, "by", ("model", "original"))
        if not np.isfinite(self.threshold):
            raise InputError(f"Attack option key-tokens:threshold must be a number, got {self.threshold}.")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("original",) if self.by == "original" else ()

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "retain", "unseen")

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        asked = (*known.unseen, *known.retain)
        return reading_cost(loaded, known, sum(1 + len(prompt.query.text.split()) for prompt in asked))

    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self._rebuilt(loaded, known, known.unseen or known.forget)

    def kept(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        return self._rebuilt(loaded, known, known.retain)

    def _rebuilt(self, loaded: LoadedModel, known: Known, asked: Sequence[Prompt]) -> list[Prompt]:
        judge = beside(loaded, known.original) if asked and self.by == "original" else loaded
        return [
            replace(prompt, asked=replace(prompt.query, text=self.rebuilt(prompt.query.text, found)))
            for prompt, found in zip(asked, contributions(judge, asked), strict=True)
        ]

    def rebuilt(self, question: str, found: Floats) -> str:
        """The question around its key words. found: the contribution of each word."""
        words = question.split()
        if not words:
            return question
        chosen = [word for word, value in zip(words, found, strict=True) if value > self.threshold]
        chosen = chosen or [words[int(np.argmax(found))]]
        bare = list(dict.fromkeys(word.strip(EDGES) or word for word in chosen))
        between = ", " if self.form == "emphasise" else " "
        return FORMS[self.form].replace("{question}", question).replace("{words}", between.join(bare))


def contributions(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[Floats]:
    """C_i of each word of each question, as white space parts them: what leaving it out takes from the mean log p of the
    tokens of the true answer, its end token not among them.
    """
    queries: list[tuple[Query, str]] = []
    for prompt in prompts:
        words = prompt.query.text.split()
        texts = [prompt.query.text, *(" ".join(words[:i] + words[i + 1 :]) for i in range(len(words)))]
        queries += [(replace(prompt.query, text=text), prompt.answer) for text in texts]
    seams = [loaded.template.pair(loaded.tokenizer, query, answer, end=False) for query, answer in queries]
    stats = token_stats(loaded, [(seam.prompt, seam.answer) for seam in seams])
    means = iter([float(one.logprob.mean()) for one in stats])
    found = []
    for prompt in prompts:
        whole = next(means)
        found.append(np.array([whole - next(means) for _ in prompt.query.text.split()]))
    return found
