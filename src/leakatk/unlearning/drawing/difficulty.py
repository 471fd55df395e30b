"""Difficulty of forgetting as a drawing: prompts whose memory is easily shaken are drawn more often (MRD, arXiv 2504.06658)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from leakatk.errors import InputError
from leakatk.metrics.pieces import Answer
from leakatk.metrics.robustness import Shaken, mrd
from leakatk.unlearning.drawing.base import Drawing
from leakatk.unlearning.streams import drawn_rows

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


@dataclass
class EasyFirst(Drawing):
    """Forget prompts drawn with probability MRD_i / sum MRD, measured at the start and every `mrd_every` epochs of the forget set.

    Low is hard to forget, and drawn less. Weights of the caller multiply it. Where no prompt has an MRD above 0 they are drawn evenly.
    """

    work: Work = field(kw_only=True)
    ahead = False

    def __post_init__(self) -> None:
        params = self.work.params
        if not params["mrd_every"] > 0:
            raise InputError(f"mrd_every must be above 0, got {params['mrd_every']!r}.")
        epoch = len(self.work.forget) / self.work.settings.forget_batch
        self.every = max(1, round(params["mrd_every"] * epoch))
        self.first = self.measure()

    def measure(self) -> list[float]:
        """The MRD of each forget answer under the weights of the moment; 0 where it has none."""
        params, asked = self.work.params, [Answer(p.asked or p.question, p.answer) for p in self.work.forget]
        shaken = [Shaken(one, params["noise"], params["draws"]) for one in asked]
        values = [mrd(found) for found in Shaken.compute(self.work.loaded, shaken)]
        return [value if math.isfinite(value) else 0.0 for value in values]

    def rows(self, of: str, start: int, count: int, state: dict[str, float]) -> list[int]:
        if of != "forget":
            return super().rows(of, start, count, state)
        found = [state.get(f"mrd {i}", value) for i, value in enumerate(self.first)]
        return drawn_rows(len(found), count, start, self.seed(of), self._times(found))

    def _times(self, found: Sequence[float]) -> list[float]:
        own = self.weights or [1.0] * len(found)
        both = [a * b for a, b in zip(found, own, strict=True)]
        return both if any(both) else list(own)

    def after(self, done: int, state: dict[str, float]) -> str:
        if done % self.every == 0:
            state |= {f"mrd {i}": value for i, value in enumerate(self.measure())}
        return ""


def easy_first(work: Work, plain: Drawing) -> EasyFirst:
    """`EasyFirst` in the place of every run's drawing."""
    return EasyFirst(plain.streams, plain.order, plain.weights, work=work)
