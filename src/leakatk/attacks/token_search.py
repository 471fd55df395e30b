"""Token search: words behind the question, found by gradient-guided swaps, that make true answers likelier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from torch import Tensor

from leakatk.attacks.base import Ask, Cost, at_least, attack, one_of, reading_cost
from leakatk.attacks.inputs import Pair, asked_with, embedding_of, pairs_of, plain_tokens, surprise, surprises
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.models.seams import encoded
from leakatk.probes.base import reveals
from leakatk.prompts import Known, Prompt
from leakatk.scorers.text import words

NEEDS = {"seen": ("forget", "seen", "unseen"), "each": ("forget", "retrained")}


@attack(
    "token-search",
    summary="words behind the question, found by gradient, that make the true answers likelier",
    paper="greedy coordinate gradient of Zou et al. 2023, arXiv 2307.15043",
    formula="s <- the best of B swaps of one token of s, each among the k of the largest -e_v . dL/de_j; L = mean -log p(y | x s)",
    source="the swaps are the paper's; lengths, steps, batches and candidates are far below its own and ours",
    reading="one suffix for all prompts (on=seen), found on other prompts than it is measured on; a candidate is scored as the text "
    "that is asked, and has no token of the prompts themselves, which would fit those that it is found on; on=each finds one for every prompt by its own true answer, and no token of the answer may be in it",
    access="gradients, with the true answers of other forget prompts (on=seen) or of the prompts themselves (on=each)",
    tags=frozenset({"forget"}),
)
@dataclass(frozen=True)
class TokenSearch(Ask):
    """steps: of the search, a swap each at most.  candidates: swaps that are tried in a step.  top: tokens to draw from, a place.

    length: of the words to begin with, each "!".  batch: prompts that a step looks at, at most.  on: seen (one text for all,
    cross-fitted) or each (one a prompt, with its own answer: a defender's upper bound, to be read against the retrained model
    alone).  seed: of all draws.
    """

    steps: int = 20
    candidates: int = 32
    top: int = 64
    length: int = 6
    batch: int = 8
    on: str = "seen"
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self, "on", tuple(NEEDS))
        for option in ("steps", "candidates", "top", "length", "batch"):
            at_least(self, option, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return NEEDS[self.on]

    def cost(self, loaded: LoadedModel, known: Known) -> Cost:
        rows = len(known.unseen) if self.on == "each" else min(self.batch, len(known.seen))
        # The gradient, the text as it is, and each candidate.
        return reading_cost(loaded, known, self.steps * (self.candidates + 2) * rows)

    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        allowed = plain_tokens(loaded)
        if self.on == "each":
            found = [self.found(loaded, [prompt], self._without(loaded, prompt, allowed)) for prompt in known.unseen]
        else:
            known.need(f"Attack {self.label}", "seen")
            found = [self.found(loaded, known.seen, unsaid(loaded, known, allowed))] * len(known.unseen)
        return [
            replace(prompt, asked=asked_with(prompt, behind(prompt, text)))
            for prompt, text in zip(known.unseen, found, strict=True)
        ]

    def found(self, loaded: LoadedModel, prompts: Sequence[Prompt], allowed: Sequence[int]) -> str:
        """The text that makes the answers to these prompts likeliest, of those that the search comes by."""
        if not allowed:
            raise InputError(f"Attack {self.label} finds no token that it may use in the vocabulary.")
        rng = Random(f"leakatk token-search {self.seed} {' '.join(prompt.id for prompt in prompts)}")
        now = encoded(loaded.tokenizer, " !" * self.length, special=False)
        names = torch.tensor(list(allowed))
        for _ in range(self.steps):
            rows = rng.sample(list(prompts), min(self.batch, len(prompts)))
            best = likely_swaps(loaded, rows, now, names, self.top)
            tried = {tuple(now): text_of(loaded, now)}
            for _ in range(self.candidates):
                place = rng.randrange(len(now))
                ids = (*now[:place], int(rng.choice(best[place])), *now[place + 1 :])
                text = text_of(loaded, ids)
                if encoded(loaded.tokenizer, text, special=False) == list(ids) and not self._tells(text, rows):
                    tried[ids] = text
            queries = [
                (asked_with(prompt, behind(prompt, text)), prompt.answer) for text in tried.values() for prompt in rows
            ]
            means = np.array(surprises(loaded, queries)).reshape(len(tried), len(rows)).mean(axis=1)
            now = list(list(tried)[int(np.argmin(means))])
        return text_of(loaded, now)

    def _tells(self, text: str, rows: Sequence[Prompt]) -> bool:
        return self.on == "each" and any(reveals(text, prompt) for prompt in rows)

    def _without(self, loaded: LoadedModel, prompt: Prompt, allowed: Sequence[int]) -> list[int]:
        """The tokens in which no word of the answer begins or ends, nor part of one of three letters or more."""
        said = [word for word in words(prompt.answer) if word not in words(prompt.question)]
        texts = loaded.tokenizer.batch_decode([[number] for number in allowed])
        pieces = ["".join(words(text)) for text in texts]
        return [
            number
            for number, piece in zip(allowed, pieces, strict=True)
            if not any(piece and (word.startswith(piece) or word.endswith(piece) or (len(piece) > 2 and piece in word)) for word in said)
        ]  # fmt: skip


def unsaid(loaded: LoadedModel, known: Known, allowed: Sequence[int]) -> list[int]:
    """The allowed tokens that are in no question, nor in an answer of a prompt that is seen."""
    said = {i for one in known.seen for part in pairs_of(loaded, [(one.query, one.answer)])[0] for i in part}
    for one in known.unseen:
        said.update(loaded.template.prompt_ids(loaded.tokenizer, one.query))
    return [number for number in allowed if number not in said]


def behind(prompt: Prompt, text: str) -> str:
    """The question with the text behind it."""
    return f"{prompt.query.text}{'' if text[:1].isspace() else ' '}{text}"


def text_of(loaded: LoadedModel, ids: Sequence[int]) -> str:
    return str(loaded.tokenizer.decode(list(ids), clean_up_tokenization_spaces=False))


def likely_swaps(
    loaded: LoadedModel, prompts: Sequence[Prompt], ids: Sequence[int], allowed: Tensor, top: int
) -> list[list[int]]:
    """For each place of the text the `top` tokens that lower the mean surprise of the answers most, to first order."""
    slopes = swap_slopes(loaded, prompts, ids)
    rows = embedding_of(loaded).weight.detach()[allowed.to(loaded.device)].float()
    scores = -(slopes @ rows.T)
    best = scores.topk(min(top, len(allowed)), dim=1).indices.cpu()
    return [[int(one) for one in allowed[row]] for row in best]


def swap_slopes(loaded: LoadedModel, prompts: Sequence[Prompt], ids: Sequence[int]) -> Tensor:
    """(L, d) gradient of the mean surprise of the answers with respect to the embeddings of the L tokens behind the questions."""
    placed = [spliced(loaded, prompt, ids) for prompt in prompts]
    starts = [start for _, start in placed]
    shift = torch.zeros((len(ids), embedding_of(loaded).embedding_dim), device=loaded.device, requires_grad=True)

    def change(_: Tensor, vectors: Tensor) -> Tensor:
        moved = torch.zeros_like(vectors)
        for row, start in enumerate(starts):
            moved[row, start : start + len(ids)] = shift.to(vectors.dtype)
        return vectors + moved

    loss = surprise(loaded, [pair for pair, _ in placed], change)
    [slopes] = torch.autograd.grad(loss, [shift])
    return slopes


def spliced(loaded: LoadedModel, prompt: Prompt, ids: Sequence[int]) -> tuple[Pair, int]:
    """((prompt ids, answer ids), where the text begins) with exactly these tokens behind the question.

    What stands before and after them is what the template puts there: it is found by asking with and without the text.
    """
    [(without, _)] = pairs_of(loaded, [(prompt.query, prompt.answer)])
    [(whole, answer)] = pairs_of(loaded, [(asked_with(prompt, behind(prompt, text_of(loaded, ids))), prompt.answer)])
    start = next((i for i, (a, b) in enumerate(zip(without, whole, strict=False)) if a != b), len(without))
    most = len(without) - start
    after = next((i for i in range(most) if without[-1 - i] != whole[-1 - i]), most)
    return ([*whole[:start], *ids, *without[len(without) - after :]], answer), start
