"""Contrastive training of a similarity detector: other wordings of a question move together, near misses apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.guards.base import Floats
from leakatk.guards.detectors import Similarity, encoder_for, put, vectors
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

# What stands for another wording of a question that has none of its own.
_FRAMES = ("can you tell me, {question}", "i would like to know: {question}", "{question} please answer")


@dataclass(frozen=True)
class Trained(Similarity):
    """`Similarity` after a linear map of the sentence vectors, I + A B', that was trained on pairs; without steps there is none."""

    steps: int = 0
    """Steps of training (Adam); 0 is the encoder as it is."""
    margin: float = 0.5
    """How far apart, in 1 - cosine, near misses are to be."""
    rate: float = 0.01
    """Learning rate."""
    rank: int = 16
    """Columns of A and B."""
    train_seed: int = 0
    """Draws where B begins; A begins at 0."""
    left: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    right: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 0 or self.rank < 1 or not self.margin > 0 or not self.rate > 0:
            raise InputError("Training needs steps of at least 0, rank of at least 1, and margin and rate above 0.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """With keep, every second retain prompt trains and the others calibrate."""
        if not self.steps:
            return super().fit(known, loaded)
        known.need("Training of a similarity detector", "forget", "retain")
        name = encoder_for("A similarity detector", self.encoder, known)
        shown, held = (known.retain[::2], known.retain[1::2]) if self.keep else (known.retain, known.retain)
        first, second, same = pairs(known.forget, shown, name)
        left, right = trained(
            vectors(first, name), vectors(second, name), same,
            margin=self.margin, steps=self.steps, rate=self.rate, rank=self.rank, seed=self.train_seed,
        )  # fmt: skip
        made = replace(self, encoder=name, left=left, right=right)
        made = replace(made, store=made.mapped(put(known.forget)))
        return made.fitted(known, held)

    def mapped(self, texts: Sequence[str]) -> Floats:
        """(len(texts), d) unit vectors after the map."""
        return (
            moved(vectors(texts, self.encoder), self.left, self.right)
            if self.left.size
            else vectors(texts, self.encoder)
        )

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        found: Floats = (self.mapped(put(prompts)) @ self.store.T).max(axis=1)
        return found


def moved(rows: Floats, left: Floats, right: Floats) -> Floats:
    """Rows (m, d) under I + left right', made unit vectors. left, right: (d, r)."""
    found = rows + (rows @ right) @ left.T
    length = np.linalg.norm(found, axis=1, keepdims=True)
    unit: Floats = found / np.where(length > 0, length, 1.0)
    return unit


def pairs(forget: Sequence[Prompt], retain: Sequence[Prompt], encoder: str) -> tuple[list[str], list[str], Floats]:
    """(texts, texts, 1 for another wording and 0 for a near miss).

    Of each question: (question, wording, 1), (question, miss, 0), (wording, a wording of the miss, 0). The miss is the nearest
    question on the other side: one to be kept for one to be forgotten, and the reverse. Wordings are the prompt's own, else a
    frame around it.
    """
    sides = [put(forget), put(retain)]
    near = vectors(sides[0], encoder) @ vectors(sides[1], encoder).T
    wordings = [
        [
            list(prompt.paraphrases) or [_FRAMES[i % len(_FRAMES)].format(question=question.rstrip("?. ").lower())]
            for i, (prompt, question) in enumerate(zip(prompts, questions, strict=True))
        ]
        for prompts, questions in zip((forget, retain), sides, strict=True)
    ]
    rows: list[tuple[str, str, float]] = []
    for side, scores in enumerate((near, near.T)):
        other = 1 - side
        for i, question in enumerate(sides[side]):
            rows += [(question, wording, 1.0) for wording in wordings[side][i]]
            miss = int(np.argmax(np.round(scores[i], 6)))
            rows += [(question, sides[other][miss], 0.0), (wordings[side][i][0], wordings[other][miss][0], 0.0)]
    first, second, label = zip(*rows, strict=True)
    return list(first), list(second), np.array(label)


def trained(
    first: Floats, second: Floats, same: Floats, *, margin: float, steps: int, rate: float, rank: int, seed: int
) -> tuple[Floats, Floats]:
    """(A, B), each (d, rank), that lower the mean of 1/2 [y d^2 + (1 - y) max(0, margin - d)^2], d = 1 - cosine."""
    import torch

    draw = np.random.default_rng(seed)
    a, b = (torch.as_tensor(rows) for rows in (first, second))
    y = torch.as_tensor(same)
    left = torch.zeros(first.shape[1], rank, dtype=torch.float64, requires_grad=True)
    right = torch.as_tensor(draw.normal(size=(first.shape[1], rank)) / first.shape[1] ** 0.5).requires_grad_()
    optimiser = torch.optim.Adam([left, right], lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        u, v = (rows + (rows @ right) @ left.T for rows in (a, b))
        apart = 1 - torch.nn.functional.cosine_similarity(u, v, dim=1)
        loss = 0.5 * (y * apart**2 + (1 - y) * (margin - apart).clamp(min=0) ** 2)
        loss.mean().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return left.detach().numpy(), right.detach().numpy()
