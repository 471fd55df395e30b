"""Restriction while an answer is made: a detector on the model's states, penalties on what the forget answers say (GUARD)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.guards.base import Action, Floats
from leakatk.guards.detectors import encoder_for, encoder_mark, put, vectors
from leakatk.guards.watching import Watching, halves, mean_states
from leakatk.prompts import Known, Prompt
from leakatk.scorers.text import words

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.loaded import LoadedModel
    from leakatk.models.matching import Forbidden


@dataclass(frozen=True)
class States(Watching):
    """Log odds that a prompt is one to be forgotten, by a small network on the mean of its states after a layer.

    Both classes weigh the same. Every second retain prompt trains, the others set the threshold.
    """

    layer: float = 0.5
    """After which layer: a share of the depth between 0 and 1, or a number."""
    hidden: int = 32
    """Units between states and log odds."""
    steps: int = 300
    """Training steps, on all prompts at once."""
    train_seed: int = 0
    """Of the first weights."""
    weights: tuple[Floats, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """(d,) mean and deviation of the states, then (d, h), (h,), (h,) and (1,)."""

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        made = replace(self, inside=loaded)
        known.need("A detector on states", *self.needs)
        if self.hidden < 1 or self.steps < 1:
            raise InputError("A detector on states has at least 1 hidden unit and 1 step.")
        learn, held = halves(known)
        states = made._means([*known.forget, *learn])
        label = np.array([1.0] * len(known.forget) + [0.0] * len(learn))
        middle, spread = states.mean(axis=0), np.maximum(states.std(axis=0), 1e-6)
        network = perceptron(
            (states - middle) / spread, label, hidden=self.hidden, steps=self.steps, seed=self.train_seed
        )
        return replace(made, weights=(middle, spread, *network)).fitted(known, held)

    def _means(self, prompts: Sequence[Prompt]) -> Floats:
        return mean_states(self._model, self._ids(prompts), self.layer)

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        if not prompts:
            return np.zeros(0)
        middle, spread, first, offset, last, end = self.weights
        units = np.tanh((self._means(prompts) - middle) / spread @ first + offset)
        found: Floats = units @ last + end[0]  # no probabilities: rounded, the surest of them would all be 1
        return found


def perceptron(features: Floats, label: Floats, *, hidden: int, steps: int, seed: int) -> tuple[Floats, ...]:
    """(d, h), (h,), (h,), (1,): weights of a network with one layer of tanh, for the logit of label 1.

    features (m, d), label (m,) of 0 and 1; both weigh the same. Adam on all at once, with weight decay 0.01.
    """
    import torch
    from torch.nn import functional as F

    x, y = torch.from_numpy(features), torch.from_numpy(label)
    weight = torch.where(y == 1, 0.5 / y.sum().clamp(min=1), 0.5 / (1 - y).sum().clamp(min=1))
    draw = torch.Generator().manual_seed(seed)
    size = features.shape[1]
    first = torch.randn(size, hidden, generator=draw, dtype=torch.float64) / size**0.5
    last = torch.randn(hidden, generator=draw, dtype=torch.float64) / hidden**0.5
    parts = [first, torch.zeros(hidden, dtype=torch.float64), last, torch.zeros(1, dtype=torch.float64)]
    with torch.enable_grad():
        parts = [part.requires_grad_(True) for part in parts]
        optimiser = torch.optim.AdamW(parts, lr=0.01, weight_decay=0.01)
        for _ in range(steps):
            logit = (x @ parts[0] + parts[1]).tanh() @ parts[2] + parts[3]
            loss = (weight * F.binary_cross_entropy_with_logits(logit, y, reduction="none")).sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return tuple(part.detach().numpy() for part in parts)


@dataclass(frozen=True)
class Restrict(Action):
    """What the nearest forget prompt's answer says is not said: a token that would complete it never, one on the way less.

    What it says are its `facts`; without facts, the words of the answer that are in no question and no retain answer.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget",)

    partly: float = 4.0
    """Penalty in nats of a token on the way to a forbidden sequence, times the share that is then said."""
    soft: float = 2.0
    """Penalty in nats of tokens that are like one of a forbidden sequence."""
    like: float = 0.8
    """Cosine of the model's input embeddings from which on two tokens are alike; above 1 none are."""
    nearest: str = ""
    """The encoder that finds the nearest forget prompt, as a detector's `encoder`."""
    known: Known = dataclasses.field(default_factory=Known, repr=False, compare=False)
    store: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)

    def __post_init__(self) -> None:
        if not (self.partly >= 0 and self.soft >= 0):
            raise InputError(f"partly and soft are at least 0, got {self.partly} and {self.soft}.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        known.need("Restriction by forget answers", *self.needs)
        name = encoder_for("Restriction by forget answers", self.nearest, known)
        own = Known(forget=known.forget, retain=known.retain)
        return replace(self, known=own, nearest=name, store=vectors(put(known.forget), name))

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), **({"nearest": encoder_mark(self.nearest)} if self.nearest else {})}

    def joining(self, loaded: LoadedModel) -> tuple[list[LoadedModel], Callable[..., Tensor]]:
        from leakatk.models.matching import Matching

        made: Any = Matching(loaded.model)
        return [replace(loaded, model=made, name="forbidden sequences", notes=[])], self.combine

    def combine(self, z: Tensor, penalty: Tensor) -> Tensor:
        return z.log_softmax(-1) + penalty

    def group(self, loaded: LoadedModel, prompt: Prompt) -> int:
        """The number of the nearest forget prompt."""
        [row] = vectors(put([prompt]), self.nearest) @ self.store.T
        return int(np.argmax(np.round(row, 6)))

    def during(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        """loaded: the ensemble; prompts: of one group."""
        joined: Any = loaded.model
        return joined.members[-1].holding(self.forbidden(loaded, self.group(loaded, prompts[0])))  # type: ignore[no-any-return]

    def forbidden(self, loaded: LoadedModel, number: int) -> Forbidden:
        """What must not be said in answer to forget prompt number `number`."""
        from leakatk.models.matching import Forbidden, sequences_of

        sequences = sequences_of(loaded.tokenizer, self.phrases(number))
        alike: tuple[int, ...] = ()
        if self.soft and self.like <= 1 and sequences:
            alike = alike_tokens(loaded, sorted({token for one in sequences for token in one}), self.like)
        return Forbidden(sequences, self.partly, alike, self.soft)

    def phrases(self, number: int) -> tuple[str, ...]:
        """What must not be said, as text."""
        prompt = self.known.forget[number]
        if prompt.facts:
            return prompt.facts
        usual = {word for one in self.known.retain for word in words(one.answer)}
        usual |= {word for one in self.known.forget for word in words(one.question)}
        found = tuple(
            dict.fromkeys(word for word in prompt.answer.strip(" .!?").split() if not set(words(word)) <= usual)
        )
        return found or (prompt.answer,)


def alike_tokens(loaded: LoadedModel, forbidden: Sequence[int], least: float) -> tuple[int, ...]:
    """Other tokens whose input embedding has at least this cosine to that of a forbidden one; never special ones."""
    import torch

    model: Any = loaded.model
    table = model.get_input_embeddings().weight.detach().float()
    table = table / table.norm(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    near = (table @ table[list(forbidden)].T).amax(1) >= least
    never = {*forbidden, *loaded.tokenizer.all_special_ids, *loaded.end_ids}
    return tuple(int(i) for i in near.nonzero()[:, 0].tolist() if i not in never)
