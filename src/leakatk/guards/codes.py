"""Codes of a codebook that the forget set uses are taken out of the states (CodeUnlearn)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from leakatk.arrays import Ints
from leakatk.errors import InputError
from leakatk.guards.base import Action, Floats
from leakatk.guards.watching import whole_texts
from leakatk.prompts import Known, Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from leakatk.models.codebook import Codebook
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class WithoutCodes(Action):
    """Codes that forget texts use much more often than retain texts are taken out of the states, wherever they are among a state's codes.

    What the codebook leaves over stays, so a state without such a code is as it was. The first token is left alone.
    """

    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    layer: float = 0.5
    """After which layer: a share of the depth between 0 and 1, or a number."""
    codes: int = 1024
    """Codes of the codebook."""
    top: int = 8
    """How many of them a state is the sum of."""
    steps: int = 500
    """Training steps."""
    enrichment: float = 1.0
    """A code goes when log2 of its share of forget tokens over that of retain tokens is above this,"""
    level: float = 0.05
    """and the chi-square test of both shares gives less than this."""
    train_seed: int = 0
    """Draws the first codes and the batches."""
    book: Floats = dataclasses.field(default_factory=lambda: np.zeros((0, 0)), repr=False, compare=False)
    """(codes, d) of the codebook."""
    gone: Floats = dataclasses.field(default_factory=lambda: np.zeros(0), repr=False, compare=False)
    """Numbers of the codes that are taken out."""

    def __post_init__(self) -> None:
        if not 0 < self.level <= 1:
            raise InputError(f"level is the level of a test, above 0 and at most 1, got {self.level}.")

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        import torch

        from leakatk.models.codebook import fit_codebook
        from leakatk.models.layers import layer_at, states_of

        known.need("A codebook of states", *self.needs)
        if loaded is None:
            raise InputError("A codebook reads the model, which is not here; use --engine native or generate.")
        place = [(layer_at(loaded.model, self.layer), "block")]
        states = [
            torch.cat([one[1:] for one in states_of(loaded, whole_texts(loaded, some), place)[0]])
            for some in (known.forget, known.retain)
        ]
        book = fit_codebook(torch.cat(states), codes=self.codes, top=self.top, steps=self.steps, seed=self.train_seed)
        forget, retain = (
            np.bincount(book.chosen(some).flatten().numpy(), minlength=self.codes).astype(np.int64) for some in states
        )
        gone = enriched(forget, retain, len(states[0]), len(states[1]), least=self.enrichment, level=self.level)
        if not len(gone):
            raise InputError(
                f"No code is used so much more often by forget texts (enrichment above {self.enrichment:g} at level {self.level:g}); "
                "lower enrichment, or train more codes."
            )
        return replace(self, book=book.codes.double().numpy(), gone=gone.astype(np.float64))

    @property
    def codebook(self) -> Codebook:
        """The fitted codebook."""
        import torch

        from leakatk.models.codebook import Codebook

        return Codebook(torch.from_numpy(self.book), self.top).requires_grad_(False)

    def hooks(self, loaded: LoadedModel, prompts: Sequence[Prompt]) -> AbstractContextManager[None]:
        import torch

        from leakatk.models.hooks import changed_states
        from leakatk.models.layers import layer_at, module_at

        module, _ = module_at(loaded.model, layer_at(loaded.model, self.layer))
        book = self.codebook.to(loaded.device)
        out = torch.zeros(len(self.book), dtype=torch.bool, device=loaded.device)
        out[torch.as_tensor(self.gone.astype(np.int64))] = True

        def change(states: Tensor, positions: Tensor) -> Tensor:
            chosen = book.chosen(states.float())
            there = out[chosen] & (positions > 0)[..., None]
            moved = states - (book.codes[chosen] * there[..., None]).sum(-2).to(states)
            return torch.where(there.any(-1, keepdim=True), moved, states)

        return changed_states(loaded.model, [(module, change)])


def enriched(forget: Ints, retain: Ints, forget_tokens: int, retain_tokens: int, *, least: float, level: float) -> Ints:
    """Numbers of the codes with log2(share of forget tokens / share of retain tokens) above `least` and a chi-square p below `level`.

    forget, retain (m,): at how many tokens each code is used, out of all tokens of each set. Pearson's test of a two-by-two table with
    one degree of freedom, uncorrected.
    """
    from scipy.stats import chi2

    shares = forget / forget_tokens, retain / retain_tokens
    pooled = (forget + retain) / (forget_tokens + retain_tokens)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log2(shares[0] / shares[1])
        spread = pooled * (1 - pooled) * (1 / forget_tokens + 1 / retain_tokens)
        p = chi2.sf((shares[0] - shares[1]) ** 2 / spread, 1)
    found: Ints = np.flatnonzero((forget > 0) & (ratio > least) & (p < level))
    return found
