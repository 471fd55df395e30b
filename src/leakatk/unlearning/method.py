"""Method: its stages, the numbers of its formula, how it is trained, and where all that comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from leakatk.errors import InputError
from leakatk.registry import Facts, Registry
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.small_rates import factor
from leakatk.unlearning.stages import Edit, Keep, Repeat, Stage, Term, Train, flat
from leakatk.unlearning.view import PER

# Llama-3.2-1B on TOFU forget10 in the Leak@k study; open-unlearning's TOFU experiment has the same optimiser.
LEAKATK_STUDY = TrainSettings(
    learning_rate=1e-5, epochs=10, schedule="linear", warmup_epochs=1.0, forget_batch=32, retain_batch=32
)
# For models of about a million parameters. SimNPO, NPO, IdkNLL and RMU were tried on small worlds; the others were not tuned.
SMALL = TrainSettings(learning_rate=3e-4, max_steps=150, betas=(0.9, 0.98), check_every=5)

# What every method has: the weights of its two sides, and what a mean over tokens is taken over.
COMMON = {"forget_weight": 1.0, "retain_weight": 1.0, "per": "answer"}


@dataclass(frozen=True, kw_only=True)
class Method(Facts):
    """A way to make a model forget, with its facts (`Facts`)."""

    stages: tuple[Stage, ...]
    """Done one after the other."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The formula's numbers, as published; forget_weight, retain_weight and per ("answer" or "token") always among them."""
    settings: TrainSettings = LEAKATK_STUDY
    """The published optimisation."""
    small: Mapping[str, Any] = field(default_factory=dict)
    """Numbers that suit a model of about a million parameters, where they differ."""
    small_settings: TrainSettings = SMALL
    """The same of the optimisation."""
    note: str = ""
    """What a user must know."""
    writer: str = "alternates"
    """Which writer writes its alternate answers, where it takes such and none are given."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "stages", tuple(self.stages))
        object.__setattr__(self, "params", {**COMMON, **self.params})
        if self.params["per"] not in PER:
            raise InputError(f"The parameter per must be {' or '.join(PER)}, got {self.params['per']!r}.")
        if not self.stages:
            raise ValueError(f"Method {self.name!r} has no stage.")

    @property
    def trains(self) -> tuple[Train, ...]:
        """Its Train stages, those that are repeated once."""
        return tuple(stage for stage in flat(self.stages) if isinstance(stage, Train))

    @property
    def sides(self) -> frozenset[str]:
        """Which of "forget" and "retain" it needs: those that its terms look at, and what its tags say."""
        looked = frozenset(side for stage in self.trains for side in stage.sides)
        return looked | (self.tags & {"forget", "retain"})

    @property
    def side(self) -> str:
        """The set whose passes are its epochs: "forget", or "retain" for a method that does not look at that."""
        return "forget" if "forget" in self.sides else "retain"

    @property
    def edits_last(self) -> bool:
        """Whether the weights are changed after the last step, so that checks do not see what comes out."""
        last = flat(self.stages)[-1]
        return isinstance(last, Edit) or (isinstance(last, Keep) and last.back)

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `Known` that its stages need."""
        stages = flat(self.stages)
        return tuple(dict.fromkeys(name for stage in stages for name in getattr(stage, "needs", ())))

    @property
    def identity(self) -> dict[str, Any]:
        """Its numbers as manifests hold them: `per` only where it is not what it was before it had a name."""
        return {name: value for name, value in self.params.items() if (name, value) != ("per", "answer")}

    def with_params(self, **params: Any) -> Method:
        """The same method with other numbers; InputError for one it does not have."""
        for name in params:
            if name not in self.params:
                raise InputError(f"Method {self.name} has no parameter {name!r}; it has {', '.join(self.params)}.")
        return replace(self, params={**self.params, **params})

    def for_small_models(self, *, found: bool = True) -> Method:
        """The preset for models of about a million parameters.

        found: at the learning rate that a search found (`small_rates`), else at the one that the search starts from.
        """
        rate = self.small_settings.learning_rate * (factor(self.name) if found else 1)
        settings = replace(self.small_settings, learning_rate=rate)
        return replace(self, params={**self.params, **self.small}, settings=settings)


METHODS: Registry[Method] = Registry("method")
_OF_TRAIN = (
    "combine",
    "select",
    "weigh",
    "insert",
    "filter",
    "optimiser",
    "gather",
    "adapter",
    "draw",
    "beside",
    "needs",
)


def method(name: str, *parts: Term | Stage, **facts: Any) -> Method:
    """Register a method. parts: its stages; bare terms are one Train stage, to which combine, select, weigh, insert,
    filter, optimiser, gather, adapter, draw, beside and needs belong. facts: fields of `Method` and `Facts`.
    """
    hooks = {key: facts.pop(key) for key in _OF_TRAIN if key in facts}
    terms = tuple(part for part in parts if isinstance(part, Term))
    stages: tuple[Any, ...] = parts
    if terms:
        if len(terms) != len(parts):
            raise ValueError(f"Method {name!r} mixes terms and stages; put the terms into a Train stage.")
        stages = (Train(terms, **hooks),)
    elif hooks:
        raise ValueError(f"{', '.join(hooks)} of method {name!r} belong to one of its Train stages.")
    return METHODS.add(name, Method(name=name, stages=stages, **facts))


def resolve(method: str | Method) -> Method:
    """The method of that name. UnknownNameError for an unknown one."""
    return method if isinstance(method, Method) else METHODS[method]


__all__ = ["METHODS", "Edit", "Keep", "Method", "Repeat", "Term", "Train", "method", "resolve"]
