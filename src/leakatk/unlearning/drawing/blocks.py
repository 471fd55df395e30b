"""Blocks of steps, one for each entity of the forget set, with retain prompts of its own (MELU, arXiv 2509.05316)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.drawing.until_gone import of_words
from leakatk.unlearning.gathered import classes_of

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work

SCHEDULES = ("modular", "one-to-one", "cyclic")
KINDS = 3  # direct neighbours, indirect ones, general knowledge


@dataclass
class Blocks(Drawing):
    """MELU: `schedule` "modular" goes through the forget set entity by entity, each in whole steps, beside retain prompts bound to it.

    Bound to an entity: the retain prompts by nearness in three parts of like size, each shuffled, taken in turn. "one-to-one": shuffled epochs
    of the forget set, each prompt with one retain prompt, drawn once. "cyclic": every run's drawing of both sets.
    """

    work: Work = field(kw_only=True)

    def __post_init__(self) -> None:
        params, settings = self.work.params, self.work.settings
        if params["schedule"] not in SCHEDULES:
            raise InputError(f"schedule must be {', '.join(SCHEDULES)}, got {params['schedule']!r}.")
        if self.weights is not None and params["schedule"] == "modular":
            raise InputError(
                "The modular schedule draws entity by entity; leave weights of prompts out, or take another."
            )
        self.modular, self.batch, self.beside = (
            params["schedule"] == "modular",
            settings.forget_batch,
            settings.retain_batch,
        )
        self.plain = params["schedule"] == "cyclic" or not self.work.retain
        questions = [prompt.question for prompt in (*self.work.forget, *self.work.retain)]
        names = classes_of(self.work.forget, questions)
        self.entities = [[i for i, one in enumerate(names) if one == name] for name in dict.fromkeys(names)]
        self.of = {row: number for number, rows in enumerate(self.entities) for row in rows}
        self.bound = [] if self.plain or not self.modular else bound(self.work.forget, self.work.retain, self.entities)
        # A block is as many draws as its prompts need in whole steps.
        self.lengths = [-(-len(rows) // self.batch) * self.batch for rows in self.entities]

    def rows(self, of: str, start: int, count: int, state: dict[str, float]) -> list[int]:
        if of == "forget" and self.modular:
            return [self.forget(i)[0] for i in range(start, start + count)]
        if of != "retain" or self.plain:
            return super().rows(of, start, count, state)
        return [self.companion(i) for i in range(start, start + count)]

    def forget(self, draw: int) -> tuple[int, int]:
        """(row, epoch) of a draw from the forget set under the modular schedule; the order of entities is shuffled in each epoch."""
        epoch, place = divmod(draw, sum(self.lengths))
        order = list(range(len(self.entities)))
        random.Random(f"{self.seed('forget')}/{epoch}").shuffle(order)
        for number in order:
            if place < self.lengths[number]:
                rows = list(self.entities[number])
                random.Random(f"{self.seed('forget')}/{epoch}/{number}").shuffle(rows)
                return rows[place % len(rows)], epoch
            place -= self.lengths[number]
        raise AssertionError("a place lies within the blocks of its epoch")

    def companion(self, draw: int) -> int:
        """The retain row beside a forget draw: where batches differ in size, the one at the same share of its step."""
        step, place = divmod(draw, self.beside)
        matching = step * self.batch + place * self.batch // self.beside
        if not self.modular:
            row = super().rows("forget", matching, 1, {})[0]
            return random.Random(f"{self.seed('retain')}/{row}").randrange(len(self.work.retain))
        number = self.of[self.forget(matching)[0]]
        parts = [part for part in self.bound[number] if part]
        turn, part = divmod(draw, len(parts))
        shuffled = list(parts[part])
        random.Random(f"{self.seed('retain')}/{number}/{part}/{turn // len(shuffled)}").shuffle(shuffled)
        return shuffled[turn % len(shuffled)]


def in_blocks(work: Work, plain: Drawing) -> Blocks:
    """`Blocks` in the place of every run's drawing."""
    return Blocks(plain.streams, plain.order, plain.weights, work=work)


def bound(
    forget: Sequence[Prompt], retain: Sequence[Prompt], entities: Sequence[Sequence[int]]
) -> list[list[list[int]]]:
    """Of each entity the retain prompts in three parts, from the nearest to the farthest third.

    Near: the cosine with the mean of the entity's questions and answers, words weighed by rarity.
    """
    vectors = of_words([f"{p.question} {p.answer}" for p in (*forget, *retain)])
    mine, theirs = vectors[: len(forget)], vectors[len(forget) :]
    found = []
    for rows in entities:
        near = np.asarray((theirs @ mine[list(rows)].T).mean(axis=1)).ravel()
        order = np.argsort(-near, kind="stable")
        found.append([part.tolist() for part in np.array_split(order, KINDS)])
    return found
