"""Activation patching: what the original computes in a few layers, put in the place of what the unlearned model computes there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leakatk.attacks.activations import (
    PARTS,
    Place,
    Texts,
    batches,
    logits,
    other_values,
    put,
    same_shape,
    taken,
    texts,
)
from leakatk.attacks.base import Floats, Read, Reading, at_least, attack
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.unlearning.passes import decoder_layers

CHOICES = (*PARTS, "values")


@attack(
    "patch",
    summary="activations of the original put into windows of layers: where the knowledge is held back",
    paper="Hong et al. 2024 (Dissecting Fine-Tuning Unlearning), arXiv 2410.06606",
    formula="KRS = 1 - MSE(logits_patched, logits_0) / MSE(logits_u, logits_0) over the first 30 tokens that theta_0 generates; "
    "patched: in a window of layers theta_u has the coefficients, attention outputs or value vectors of theta_0",
    source="window 5 and 30 tokens as published; which parts are copied by default is ours",
    rows=("85",),
    reading="all windows of neighbouring layers, of at most half of all layers each; every position is copied; the score of a "
    "prompt is its KRS in the window with the largest mean, 0 where it is below 0; a prompt on which both models have the same "
    "logits has none. What is copied comes from the original, so the retrained model recovers too: the excess and the profile "
    "are what to read",
    access="weights, with those of the original",
    chance=0.0,
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack patch --original MODEL --out runs/attacked",
)
@dataclass(frozen=True)
class Patch(Read):
    """part: coefficients, attention, mlp (outputs), values (vectors), state, or several joined by +.  window: layers of a window.

    tokens: of the original's greedy answer, at most.
    """

    part: str = "coefficients+attention"
    window: int = 5
    tokens: int = 30

    def __post_init__(self) -> None:
        at_least(self, "window", 1)
        at_least(self, "tokens", 1)
        for one in self.parts:
            if one not in CHOICES:
                raise InputError(f"Attack option patch:part must be of {', '.join(CHOICES)}, joined by +; got {one!r}.")

    @property
    def parts(self) -> list[str]:
        return [one.strip() for one in self.part.split("+")]

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen")

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        original = same_shape(f"Attack {self.label}", loaded, known.original)
        prompts = known.unseen or known.forget
        rows = answered(original, prompts, self.tokens)
        count = len(decoder_layers(loaded.model))
        span = min(self.window, max(1, count // 2))
        windows = [range(first, first + span) for first in range(count - span + 1)]
        found = np.full((len(windows), len(prompts)), np.nan)
        for part in batches(len(rows)):
            given = texts(loaded, [rows[i] for i in part])
            found[:, list(part)] = recovered(loaded, original, given, windows, self.parts)
        names = [f"layer {w[0]}" if span == 1 else f"layers {w[0]}-{w[-1]}" for w in windows]
        defined = ~np.isnan(found).all(axis=0)
        best = int(np.argmax(np.nanmean(found[:, defined], axis=1))) if defined.any() else 0
        notes = [f"the largest mean KRS is in {names[best]}."] if defined.any() else []
        if span < self.window:
            notes.append(f"windows are of {span} layers, half of the {count} that there are, not {self.window}.")
        if not defined.all():
            notes.append(f"{(~defined).sum()} prompts have the original's logits: nothing was to be recovered.")
        return Reading(np.clip(found[best], 0, 1), dict(zip(names, found, strict=True)), notes=tuple(notes))


def recovered(
    loaded: LoadedModel, original: LoadedModel, given: Texts, windows: Sequence[Sequence[int]], parts: Sequence[str]
) -> Floats:
    """(windows, B) KRS of each window and row, NaN where the models do not differ."""
    count = len(decoder_layers(loaded.model))
    copied = [part for part in parts if part != "values"]
    with taken(original.model, [(layer, part) for layer in range(count) for part in copied]) as kept:
        wanted = logits(original, given)
    before = _errors(logits(loaded, given), wanted, given)
    found = []
    for window in windows:
        values: dict[Place, Tensor] = {(layer, part): kept[layer, part] for layer in window for part in copied}
        with ExitStack() as stack:
            if "values" in parts:
                stack.enter_context(other_values(loaded.model, original.model, window))
            stack.enter_context(put(loaded.model, values))
            after = _errors(logits(loaded, given), wanted, given)
        found.append(np.where(before > 0, 1 - after / np.where(before > 0, before, 1), np.nan))
    return np.stack(found)


def _errors(mine: Tensor, wanted: Tensor, given: Texts) -> Floats:
    """(B,) mean square of the differences over a row's positions and the vocabulary."""
    square = (mine - wanted).double().square().mean(-1)
    return np.array([float(part.mean()) for part in torch.split(square, given.wanted.sum(1).tolist())])


def answered(original: LoadedModel, prompts: Sequence[Prompt], most: int) -> list[tuple[list[int], list[int]]]:
    """(ids of a prompt and of the original's greedy answer, positions that predict the answer's tokens) of each prompt."""
    decoding = Decoding(temperature=0.0, max_new_tokens=most)
    sampler = make_sampler("native", original)
    said: dict[str, tuple[int, ...]] = {}
    for part in sampler.sample([Request(prompt, [0]) for prompt in prompts], decoding, seed=0):
        said |= {one.prompt_id: one.token_ids for one in part}
    rows = []
    for prompt in prompts:
        before = original.template.prompt_ids(original.tokenizer, prompt.query)
        answer = said[prompt.id]
        ids = [*before, *answer]
        rows.append((ids[:-1], list(range(len(before) - 1, len(ids) - 1))))
    return rows
