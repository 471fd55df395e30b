"""Micro-batch: whose rows, of which streams, under which model. What a loss sees of it is a `View`."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from leakatk.errors import InputError
from leakatk.unlearning.streams import STREAMS, Batch
from leakatk.unlearning.teachers import Rows, Teachers

T = TypeVar("T")


@dataclass
class Step:
    """One micro-batch. rows: the rows drawn, by set ("forget", "retain").

    number: of the optimiser step, from 0.  seed: of the run.  state: numbers a method carries from step to step (a dual
    weight); they are part of a checkpoint.  average: mean of a scalar over processes.
    beside, share: another model to whose logits what training changed in the model's own is added, and how many times.
    """

    model: nn.Module
    streams: Rows
    rows: Mapping[str, Sequence[int]]
    teachers: Teachers
    device: torch.device
    number: int = 0
    seed: int = 0
    state: dict[str, float] = field(default_factory=dict)
    average: Callable[[Tensor], Tensor] = lambda value: value
    beside: str = ""
    share: float = 1.0

    def __post_init__(self) -> None:
        self._made: dict[Hashable, object] = {}

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """What `make` gives, made when first asked for under this key."""
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]  # type: ignore[return-value]

    def batch(self, stream: str) -> Batch:
        """The rows of a stream as tensors. InputError when its set is empty, UnknownNameError for an unknown stream."""

        def make() -> Batch:
            of = STREAMS[stream].of
            rows = self.rows.get(of, ())
            if not rows:
                raise InputError(f"This method needs a {of} set; give at least one {of} prompt.")
            return self.streams.batch(stream, rows, self.device)

        return self.once(("batch", stream), make)
