"""Drawing of rows: which prompts of each set a step trains on. Every run's is `Drawing`; `Train.draw` may put another in its place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from leakatk.unlearning.streams import Streams, drawn_rows

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


@dataclass
class Drawing:
    """Shuffled epochs, each prompt once an epoch; with weights, independent draws of forget prompts.

    order: the seed.  weights: how often each forget prompt is drawn, as the caller of `unlearn` wants it.
    """

    streams: Streams
    order: int
    weights: Sequence[float] | None = None
    ahead = True
    """Whether all draws are known before the first step, from what is known then."""

    def rows(self, of: str, start: int, count: int, state: dict[str, float]) -> list[int]:
        """Draws number start .. start+count of a set. state: the numbers that the run carries from step to step."""
        weights = self.weights if of == "forget" else None
        return drawn_rows(self.streams.size(of), count, start, self.seed(of), weights)

    def seed(self, of: str) -> int | str:
        """What the draws of a set depend on."""
        return {"forget": 2 * self.order, "retain": 2 * self.order + 1}.get(of, f"{self.order}/{of}")

    def after(self, done: int, state: dict[str, float]) -> str:
        """Look at the model after so many steps, and note in the state what later draws depend on. A reason ends the run, "" does not."""
        return ""

    def log(self, state: dict[str, float]) -> dict[str, float]:
        """What a step's record says of the drawing."""
        return {}


Draw = Callable[["Work", Drawing], Drawing]
"""(work at the beginning of the stage, the drawing of every run) -> the one of the stage."""
