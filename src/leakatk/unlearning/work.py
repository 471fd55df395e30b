"""Work: what a stage may see and change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Known, Prompt
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams

Weights = Mapping[str, Tensor]


@dataclass
class Work:
    """A run at one stage. Order never carries meaning: everything here is a function of the run's inputs."""

    loaded: LoadedModel
    """The model of the moment."""
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    streams: Streams
    """Both sets, tokenised."""
    settings: TrainSettings
    params: Mapping[str, Any]
    seed: int
    known: Known = field(default_factory=Known)
    start: Weights = field(default_factory=dict)
    """The weights before the first stage, by parameter; read from disk one at a time."""
    kept: Mapping[str, Weights] = field(default_factory=dict)
    """The weights that `Keep` stages kept, by name."""
    state: dict[str, float] = field(default_factory=dict)
    """Numbers carried from step to step and from stage to stage."""
    notes: list[str] = field(default_factory=list)
    """Sentences that a person should see; what an edit adds is printed and stands in `Unlearned.notes`."""

    def gathered(self, gather: Gather | None) -> Work:
        """The same with what a stage makes before its first step among the method's numbers."""
        if gather is None:
            return self
        with torch.no_grad():
            return replace(self, params={**self.params, **gather(self)})


Selected = str | Sequence[str] | Mapping[str, Tensor]
Select = Callable[[Work], Selected]
Insert = Callable[[Work], Mapping[str, nn.Module]]
Begin = Callable[[Work, nn.Module], None]
Gather = Callable[[Work], Mapping[str, Any]]
Filter = Callable[[Mapping[str, Tensor], Mapping[str, Any]], Mapping[str, Tensor]]
Optimiser = Callable[[Iterable[nn.Parameter], TrainSettings], torch.optim.Optimizer]
