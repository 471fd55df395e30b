"""Knowledge holes: harmless questions near what was forgotten that the model answered before, and no longer does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np

from leakatk.attacks.base import Cost, Floats, Read, at_least, attack, one_of, reading_cost
from leakatk.attacks.beside import answered, beside
from leakatk.attacks.inputs import surprises
from leakatk.attacks.turned import RIGHT
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.sampling.native import NativeSampler
from leakatk.scorers.base import get_scorer
from leakatk.scorers.text import words
from leakatk.synthesis.harmless import Harmless

AGREES = "rouge-1:part=f1"  # of two answers to a question that a model wrote
WIDER = 4  # how many times as many neighbours a search looks at


@attack(
    "holes",
    summary="the share of harmless neighbours of each forget prompt that the original answers and the model does not",
    paper="Knowledge Holes (NeurIPS 2025)",
    formula="score of x = share of { n near x : original right on n } with model wrong on n; found: largest log p_original(y|n) - "
    "log p(y|n) of the neighbourhood",
    source="numbers and nearness are ours",
    rows=("55", "83"),
    reading="neighbours are retain prompts, near by the words of question and source; right and wrong are of greedy answers; the "
    "search (by=gap) takes the neighbours that lost most likelihood, so that it is read against the retrained model, searched alike; by=writer "
    "has a language model write them, and right is what agrees with the original's own answer; further rounds show the writer the questions that lost "
    "most, in place of reinforcement learning",
    access="questions and the model before unlearning (by=words), log-probabilities too (by=gap), another language model (by=writer)",
    chance=0.0,
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack holes --original MODEL --retrained MODEL --out runs/holes",
)
@dataclass(frozen=True)
class Holes(Read):
    """near: neighbours of each forget prompt.  by: words (the nearest), gap (of four times as many, those that lost most) or writer (the
    auxiliary model of that name writes them).

    max_new_tokens: of the greedy answers.  rounds: of a writer, each shown what lost most before.  seed: of what it writes. A forget prompt
    none of whose neighbours the original answers has no score.
    """

    near: int = 4
    by: str = "words"
    max_new_tokens: int = 60
    rounds: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        one_of(self, "by", ("words", "gap", "writer"))
        for option in ("near", "max_new_tokens", "rounds"):
            at_least(self, option, 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original", "auxiliary writer") if self.by == "writer" else ("forget", "retain", "original")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen")

    def cost(self, loaded: LoadedModel, known: Known) -> Cost | None:
        return reading_cost(loaded, known, 2 * len(known.retain)) if self.by == "gap" else None

    def scores(self, loaded: LoadedModel, known: Known) -> Floats:
        original = beside(loaded, known.original)
        if self.by == "writer":
            return self.written(loaded, original, known)
        wide = self.near * (WIDER if self.by == "gap" else 1)
        around = [neighbours(prompt, known.retain, wide) for prompt in known.unseen]
        if self.by == "gap":
            pool = _distinct(around)
            asked = [(one.query, one.answer) for one in pool]
            lost = np.array(surprises(loaded, asked)) - np.array(surprises(original, asked))
            by_id = {one.id: float(value) for one, value in zip(pool, lost, strict=True)}
            around = [sorted(row, key=lambda one: -by_id[one.id])[: self.near] for row in around]
        pool = _distinct(around)
        before = answered(original, pool, self.max_new_tokens)
        after = answered(loaded, pool, self.max_new_tokens)
        gone = {one.id: bool(was and not now) for one, was, now in zip(pool, before, after, strict=True)}
        was = {one.id: bool(value) for one, value in zip(pool, before, strict=True)}
        rows = [[gone[one.id] for one in row if was[one.id]] for row in around]
        return np.array([float(np.mean(row)) if row else np.nan for row in rows])

    def written(self, loaded: LoadedModel, original: LoadedModel, known: Known) -> Floats:
        """The share of the questions written for each prompt that the model answers otherwise than the original."""
        lost: dict[str, float] = {}
        found: dict[str, dict[str, Prompt]] = {prompt.id: {} for prompt in known.unseen}
        engine = NativeSampler(original)
        for number in range(self.rounds):
            best = {i: sorted(row.values(), key=lambda one: -lost[one.id])[: self.near] for i, row in found.items()}
            writer = Harmless(self.near, answer_tokens=self.max_new_tokens, seed=self.seed + number)
            rows = writer.write_with(
                engine, known.unseen, known, {i: [one.question for one in row] for i, row in best.items()}
            )
            for row in rows:
                row = replace(row, id=f"{row.id}/{number}")
                mine = found[row.id.rpartition(f"/{writer.name}/")[0]]
                mine.setdefault(row.question, row)
            new = [one for mine in found.values() for one in mine.values() if one.id not in lost]
            asked = [(one.query, one.answer) for one in new]
            if new:
                gaps = np.array(surprises(loaded, asked)) - np.array(surprises(original, asked))
                lost |= {one.id: float(gap) for one, gap in zip(new, gaps, strict=True)}
        around = [sorted(row.values(), key=lambda one: -lost[one.id])[: self.near] for row in found.values()]
        pool = _distinct(around)
        if not pool:
            return np.full(len(around), np.nan)
        alike = get_scorer(AGREES).score(pool, greedy_texts(loaded, pool, self.max_new_tokens))
        gone = {one.id: not value >= RIGHT for one, value in zip(pool, alike, strict=True)}
        return np.array([float(np.mean([gone[one.id] for one in row])) if row else np.nan for row in around])


def _distinct(rows: Sequence[Sequence[Prompt]]) -> list[Prompt]:
    return list({one.id: one for row in rows for one in row}.values())


def neighbours(prompt: Prompt, pool: Sequence[Prompt], count: int) -> list[Prompt]:
    """The `count` nearest prompts of the pool; of those as near, which is left to a hash of both ids.

    Nearness: the share of the words of question and source that both have.
    """
    mine = _words(prompt)

    def far(one: Prompt) -> tuple[float, str]:
        other = _words(one)
        share = len(mine & other) / max(len(mine | other), 1)
        return -share, sha256(f"leakatk holes {prompt.id} {one.id}".encode()).hexdigest()

    return sorted(pool, key=far)[:count]


def _words(prompt: Prompt) -> set[str]:
    return set(words(f"{prompt.question} {prompt.source}"))
