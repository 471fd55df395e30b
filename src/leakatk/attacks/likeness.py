"""Likeness of states to the original's: linear CKA by layer, and whether each prompt keeps its nearest neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from leakatk.attacks.activations import same_shape
from leakatk.attacks.base import Floats, Read, Reading, at_least, attack
from leakatk.attacks.decoders import last_states
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known


@attack(
    "cka",
    summary="how alike the states are to the original's, by layer: CKA, and nearest neighbours that each prompt keeps",
    paper="Are We Truly Forgetting; linear CKA: Kornblith et al. 2019, arXiv 1905.00414",
    formula="CKA(X, Y) = |X'Y|_F^2 / (|X'X|_F |Y'Y|_F), columns centred; score of a prompt: mean over layers of (o - c) / (1 - c), "
    "0 where it is below 0, o the share of its k nearest neighbours in the original that are its k nearest in the model, c = k / (m - 1)",
    source="the index is the paper's; k = 5 is ours",
    rows=("30",),
    reading="states at the last token of each question; neighbours by cosine, after the mean is taken off, among forget and retain "
    "prompts; CKA over the forget prompts and over the retain prompts apart; likeness is no knowledge: read it beside the retrained "
    "model's",
    access="weights, with those of the original",
    chance=0.0,
    tags=frozenset({"forget"}),
    example="leakatk attack MODEL --benchmark world --attack cka --original MODEL --out runs/attacked",
)
@dataclass(frozen=True)
class Cka(Read):
    """k: nearest neighbours of a prompt; of fewer prompts than k + 2 it takes all but two."""

    k: int = 5

    def __post_init__(self) -> None:
        at_least(self, "k", 1)

    @property
    def needs(self) -> tuple[str, ...]:
        return ("forget", "original")

    @property
    def uses(self) -> tuple[str, ...]:
        return (*self.needs, "unseen", "retain")

    def check(self, known: Known) -> None:
        super().check(known)
        if len(known.forget) + len(known.retain) < 3:
            raise InputError(
                f"Attack {self.label} compares at least 3 prompts; give more forget prompts or retain prompts."
            )

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        """profile: the score at each layer.  whole: CKA of each layer."""
        original = same_shape(f"Attack {self.label}", loaded, known.original)
        asked = list(known.unseen or known.forget)
        every = [*asked, *known.retain]
        rows = [loaded.template.prompt_ids(loaded.tokenizer, prompt.query) for prompt in every]
        mine, theirs = (np.stack(last_states(model, rows)) for model in (loaded, original))
        count = mine.shape[1]
        k = min(self.k, len(every) - 2)
        kept = np.stack([kept_neighbours(mine[:, i], theirs[:, i], k)[: len(asked)] for i in range(count)])
        notes = [f"{k} neighbours among {len(every)} prompts."]
        # The embeddings at the last token are of one token for all: they say nothing of a prompt.
        said = [i for i in range(count) if np.ptp(theirs[:, i], axis=0).max() > 0]
        if len(said) < count:
            notes.append(f"{count - len(said)} layers at which all prompts have one state are left out.")
        sets = {"forget": slice(0, len(asked)), "retain": slice(len(asked), None)}
        whole = {
            f"CKA on {name}, layer {i}": linear_cka(mine[part, i], theirs[part, i])
            for name, part in sets.items()
            for i in said
            if len(mine[part]) > 1
        }
        profile = {f"layer {i}": kept[i] for i in said}
        scores = kept[said].mean(axis=0) if said else np.full(len(asked), np.nan)
        return Reading(scores, profile, whole, tuple(notes))


def linear_cka(first: Floats, second: Floats) -> float:
    """Linear CKA of two (m, d) sets of states of the same prompts; NaN where one of them is the same for all prompts."""
    x, y = first - first.mean(axis=0), second - second.mean(axis=0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / scale) if scale > 0 else float("nan")


def kept_neighbours(mine: Floats, theirs: Floats, k: int) -> Floats:
    """(m,) share of each prompt's k nearest neighbours that are the same in both sets, above chance, not below 0."""
    near = [nearest(states, k) for states in (mine, theirs)]
    shared = np.array([len(set(a) & set(b)) / k for a, b in zip(*near, strict=True)])
    chance = k / (len(mine) - 1)
    return np.clip((shared - chance) / (1 - chance), 0, 1)


def nearest(states: Floats, k: int) -> list[list[int]]:
    """The k nearest other prompts of each, by cosine after the mean is taken off, ties by their number."""
    centred = states - states.mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit = centred / np.where(length > 0, length, 1)
    alike = np.round(unit @ unit.T, 9)
    np.fill_diagonal(alike, -np.inf)
    return [[int(i) for i in np.argsort(-row, kind="stable")[:k]] for row in alike]
