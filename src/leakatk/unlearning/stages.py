"""Stages and terms that a method is made of: Train, Edit, Keep, Repeat."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.gradients import Combiner, Params
from leakatk.unlearning.step import Step
from leakatk.unlearning.streams import STREAMS
from leakatk.unlearning.view import PER, REFERENCE, View, Weigh

if TYPE_CHECKING:
    from leakatk.unlearning.drawing.base import Draw
    from leakatk.unlearning.work import Begin, Filter, Gather, Insert, Optimiser, Select, Weights, Work

SIDES = ("forget", "retain")


@dataclass(frozen=True)
class Term:
    """One loss, on the streams it looks at; the first says whose gradient it joins: "forget" or "retain".

    >>> Term(lambda view, p: view.mean(view.token_logprob), on="forget").side
    'forget'
    """

    loss: Callable[..., Tensor]
    """(View of each stream ..., params) -> a scalar to minimise."""
    on: str | tuple[str, ...] = "forget"
    """The name of a stream, or several, in the order of the loss's views."""
    weight: str = ""
    """The parameter that multiplies it, besides the weight of its side; "" = 1."""
    per: str = ""
    """What `View.mean` averages over: "answer" or "token"; "" = what the method's parameter `per` says."""

    def __post_init__(self) -> None:
        if self.per and self.per not in PER:
            raise InputError(f"Term.per must be {' or '.join(PER)}, got {self.per!r}.")

    @property
    def streams(self) -> tuple[str, ...]:
        return (self.on,) if isinstance(self.on, str) else tuple(self.on)

    @property
    def side(self) -> str:
        """Whose gradient it joins. UnknownNameError for a stream that does not exist."""
        return STREAMS[self.streams[0]].side

    def in_parts(self, params: Params) -> bool:
        """Whether its value on a batch is the mean of those on parts of it, weighed by their rows (`each_answer`)."""
        alone = getattr(self.loss, "each_answer", False)
        return alone and (self.per or params.get("per", "answer")) == "answer"

    def __call__(self, step: Step, params: Params, weigh: Weigh | None = None) -> Tensor:
        """Its value on one micro-batch, times its weight."""
        weighing = None if weigh is None else lambda view: weigh(view, params)
        per = self.per or params.get("per", "answer")
        value = self.loss(*(View(step, stream, per=per, weigh=weighing) for stream in self.streams), params)
        return params[self.weight] * value if self.weight else value


@dataclass(frozen=True)
class Train:
    """Optimise the terms from the weights of the moment."""

    terms: tuple[Term, ...]
    """What is minimised: forget_weight times the terms of the forget side, plus retain_weight times the others."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `TrainSettings` that differ in this stage from the method's or the user's."""
    combine: Combiner | None = None
    """How the two sides' gradients meet; None: their losses are added, in one backward pass."""
    select: Select | None = None
    """(work) -> what is trained: a regular expression, names, or a mask of entries for each name; None: the settings' choice."""
    weigh: Weigh | None = None
    """(view, params) -> weights (B, T) of an answer's tokens, or None where a stream has none (`View.weights`)."""
    insert: Insert | None = None
    """(work) -> modules put behind modules of the model, by name; trained, then folded into its weights."""
    filter: Filter | None = None
    """(a step's whole gradient by parameter, params) -> what the optimiser gets of it; before `select`'s masks and clipping."""
    optimiser: Optimiser | None = None
    """(parameters, settings) -> the optimiser; None: the one that the settings name."""
    gather: Gather | None = None
    """(work) -> further numbers of the method, made before the first step; losses and hooks find them among its own."""
    adapter: Begin | None = None
    """(work, the model with a new LoRA adapter) -> None: how the adapter begins; where whole weights are trained, not asked."""
    draw: Draw | None = None
    """(work, every run's drawing) -> which prompts of each set a step trains on; None: shuffled epochs."""
    beside: str = ""
    """The name of another model. The losses then see its logits plus `alpha` times what training has changed in those of the model, and as
    their reference that other model."""
    needs: tuple[str, ...] = ()
    """Fields of `Known` that it needs, such as "retrained" or "auxiliary small"."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "terms", tuple(self.terms))
        if not self.terms:
            raise ValueError("A Train stage needs at least one term.")

    @property
    def sides(self) -> frozenset[str]:
        """Which of "forget" and "retain" its terms look at."""
        return frozenset(term.side for term in self.terms)

    @property
    def streams(self) -> tuple[str, ...]:
        """The streams that its terms look at."""
        return tuple(dict.fromkeys(stream for term in self.terms for stream in term.streams))

    def trained(self, params: Params) -> tuple[str, ...]:
        """The sides that have terms and a weight."""
        return tuple(side for side in SIDES if side in self.sides and params[f"{side}_weight"])

    def loss(self, step: Step, params: Params, side: str) -> Tensor | None:
        """The sum of a side's terms, before forget_weight and retain_weight; None for one without, or of weight 0."""
        if side not in self.trained(params):
            return None
        values = [term(step, params, self.weigh) for term in self.terms if term.side == side]
        return sum(values[1:], values[0])

    def losses(self, step: Step, params: Params) -> dict[str, Tensor | None]:
        """`loss` of both sides."""
        return {side: self.loss(step, params, side) for side in SIDES}


@dataclass(frozen=True)
class Edit:
    """Give the model new weights."""

    edit: Callable[[Work, Weights, Params], Weights]
    """(work, the weights of the moment, params) -> the new weights; what it leaves out stays."""
    needs: tuple[str, ...] = ()
    """Fields of `Known` that it needs."""


@dataclass(frozen=True)
class Keep:
    """Keep the weights of the moment under a name: for `View.under`, and for edits in `Work.kept`."""

    name: str
    """"reference" is taken: the weights at the start."""
    back: bool = False
    """Go on from the weights at the start."""

    def __post_init__(self) -> None:
        if self.name == REFERENCE or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.name):
            raise ValueError(
                f"Keep needs a name of letters, digits and dashes other than {REFERENCE}, got {self.name!r}."
            )


@dataclass(frozen=True)
class Repeat:
    """Stages that are done again and again."""

    stages: tuple[Stage, ...]
    until: Callable[[Work, int], bool]
    """(work, rounds done) -> whether to end; asked after each round, so there is at least one."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))


Stage = Train | Edit | Keep | Repeat


def flat(stages: Sequence[Stage]) -> list[Train | Edit | Keep]:
    """The stages in order, those within a Repeat once."""
    return [one for stage in stages for one in (flat(stage.stages) if isinstance(stage, Repeat) else [stage])]
