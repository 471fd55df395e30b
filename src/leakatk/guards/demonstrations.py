"""Demonstrations: prompts with their answers before a question, chosen so that deleting one is exact and mostly for free (ERASE)."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from leakatk.errors import InputError
from leakatk.guards.base import Action, Floats
from leakatk.guards.detectors import encoder_for, encoder_mark, put, vectors
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


def projected(rows: Floats, dims: int, seed: int) -> Floats:
    """(n, dims) rows (n, d) along directions that are drawn, whatever the rows are; 0, or no fewer than d: as they are.

    Of a unit vector's length a share dims / d is kept; it is scaled back to 1 in the mean.
    """
    size = rows.shape[1]
    if not dims or dims >= size:
        return rows
    drawn = np.linalg.qr(np.random.default_rng(seed).normal(size=(size, dims)))[0]
    # Each row by itself: a product of all rows at once rounds one as the others are many.
    found: Floats = np.stack([(row[:, None] * drawn).sum(axis=0) for row in rows]) * np.sqrt(size / dims)
    return found


@dataclass(frozen=True)
class Demonstrations(Action):
    """Before every prompt stand the examples nearest to the centroids of a quantised k-means over all examples.

    The examples are the retain and the forget prompts; then the forget prompts are deleted one after the other. What is left is the state
    that clustering the retain prompts alone has, bit for bit.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    shots: int = 4
    """Clusters, and so examples."""
    width: float = 0.3
    """Of the cells to which centroids are rounded: the wider, the fewer deletions ask for clustering anew."""
    rounds: int = 3
    balance: float = 0.2
    """Clusters of fewer than balance n / shots examples are drawn towards where they were."""
    dims: int = 8
    """Entries of the vectors after a random projection; 0: all."""
    delete: bool = True
    """Off: the forget prompts stay examples."""
    nearest: str = ""
    """The encoder of the examples, as a detector's `encoder`."""
    cluster_seed: int = 0
    examples: tuple[Prompt, ...] = dataclasses.field(default=(), repr=False, compare=False)
    """What stands before a prompt; set by `fit`."""
    anew: int = dataclasses.field(default=0, repr=False, compare=False)
    """How many of the deletions asked for clustering anew."""
    deleted: int = dataclasses.field(default=0, repr=False, compare=False)

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        from leakatk.unlearning.exact.clusters import ClusterSettings, cluster
        from leakatk.unlearning.exact.clusters import delete as without

        known.need("Examples before a prompt", *self.needs)
        name = encoder_for("Examples before a prompt", self.nearest, known)
        pool = {prompt.id: prompt for prompt in (*known.retain, *known.forget)}
        if len(pool) < len(known.retain) + len(known.forget):
            raise InputError("A forget and a retain prompt share an id; an example is one or the other.")
        if self.shots > len(known.retain):
            raise InputError(f"shots = {self.shots}, and there are {len(known.retain)} retain prompts; choose fewer.")
        settings = ClusterSettings(
            clusters=self.shots, width=self.width, rounds=self.rounds, balance=self.balance, seed=self.cluster_seed
        )
        each = [
            vectors([text], name) for text in put(tuple(pool.values()))
        ]  # alone: no vector may depend on the others
        rows = projected(np.concatenate(each), self.dims, self.cluster_seed)
        state, anew = cluster(tuple(pool), rows, settings), 0
        gone = known.forget if self.delete else ()
        for prompt in gone:
            state, again = without(state, prompt.id)
            anew += again
        examples = tuple(pool[one] for one in state.nearest)
        return replace(self, nearest=name, examples=examples, anew=anew, deleted=len(gone))

    def query(self, prompt: Prompt) -> Prompt:
        asked = prompt.query
        turns = tuple((one.question, one.answer) for one in self.examples)
        return replace(prompt, asked=replace(asked, turns=(*turns, *asked.turns)))

    def describe(self) -> dict[str, Any]:
        mark = {"nearest": encoder_mark(self.nearest)} if self.nearest else {}
        return {
            **super().describe(),
            **mark,
            "examples": [prompt.id for prompt in self.examples],
            "anew": self.anew,
            "deleted": self.deleted,
        }
