"""Guard: a detector that says which prompts it is for, and an action that changes what they are answered.

A guard leaves the weights as they are: it suppresses, it does not remove. `guards.sampler.guarded` puts one around an engine.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt
from leakatk.registry import Facts, Registry, Specified
from leakatk.runs.manifest import prompts_hash

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PLACES = ("query", "hooks", "combine", "answer")
_DIGITS = 6  # scores are compared rounded: the last bits depend on what else was in the batch


class Detector(Specified):
    """Says how much each prompt looks like what is to be forgotten. Subclasses are frozen dataclasses; their fields are its options.

    needs: fields of `Known` that it cannot do without.
    """

    name: ClassVar[str] = "detector"
    needs: ClassVar[tuple[str, ...]] = ()
    reads_model: ClassVar[bool] = False
    """It asks the guarded model itself, which must be in this process."""

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """A detector that is ready to score. loaded: the guarded model, None where it is elsewhere."""
        return self

    def onto(self, loaded: LoadedModel) -> Self:
        """One that was fitted before, on the guarded model again: for what reads the model."""
        return self

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        """(m,) how much each prompt looks like what is to be forgotten; higher is more."""
        raise NotImplementedError

    def flags(self, prompts: Sequence[Prompt]) -> Bools:
        """(m,) whether the guard acts on each prompt."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps: everything that can change which prompts are flagged."""
        return {"kind": type(self).__name__, **self.options()}


@dataclass(frozen=True)
class Always(Detector):
    """Every prompt: for guards that act on all that is asked."""

    def score(self, prompts: Sequence[Prompt]) -> Floats:
        return np.ones(len(prompts))

    def flags(self, prompts: Sequence[Prompt]) -> Bools:
        return np.ones(len(prompts), dtype=np.bool_)


@dataclass(frozen=True)
class Threshold(Detector):
    """A detector that flags what scores at least a threshold: a fixed one, or one calibrated on retain prompts."""

    threshold: float = 0.5
    """Scores from here on are flagged; not used when `keep` is above 0."""
    keep: float = 0.0
    """Share of new retain-like prompts that must not be flagged (split conformal on `Known.retain`); 0 is the fixed threshold."""
    limit: float = dataclasses.field(default=math.nan, repr=False)
    """The threshold in force; set by `fit`."""

    def __post_init__(self) -> None:
        if not 0 <= self.keep < 1:
            raise InputError(f"A detector's keep is a share of prompts, at least 0 and below 1, got {self.keep}.")

    def fitted(self, known: Known, held: Sequence[Prompt]) -> Self:
        """With its threshold in force. held: retain prompts that it has not learned from."""
        if not self.keep:
            return replace(self, limit=self.threshold)
        known.need("A threshold calibrated with keep", "retain")
        return replace(self, limit=conformal(np.round(self.score(held), _DIGITS), self.keep))

    def flags(self, prompts: Sequence[Prompt]) -> Bools:
        found: Bools = np.round(self.score(prompts), _DIGITS) >= self.limit
        return found

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "limit": self.limit}


def conformal(scores: Floats, keep: float) -> float:
    """The least threshold that leaves a new score, exchangeable with these, below it with probability >= keep.

    scores (m,): of prompts that must not be flagged. Just above the ceil((m + 1) keep)-th smallest (split conformal
    prediction; Vovk et al. 2005). InputError when there are too few scores for this share.
    """
    place = math.ceil((len(scores) + 1) * keep)
    if place > len(scores):
        raise InputError(
            f"To keep {keep:g} of the retain prompts, a threshold needs at least {math.ceil(keep / (1 - keep) - 1e-9)} of them to be "
            f"calibrated on, and there are {len(scores)}; give more, or lower keep."
        )
    return float(np.nextafter(np.sort(scores)[place - 1], math.inf))


class Action(Specified):
    """Changes what a flagged prompt is answered. Subclasses are frozen dataclasses; their fields are its options.

    It defines exactly one of four methods, the place where it acts:

    * ``query(prompt) -> Prompt``: what is put to the model; the same id, another `asked`.
    * ``hooks(loaded, prompts) -> context manager``: while inside, the model answers these prompts otherwise. Prompts are handed
      over in groups that share a ``group(loaded, prompt)``, any hashable value (default: all together).
    * ``combine(*logits) -> logits``: those of the model and of the auxiliary models that `models` names, (..., V) float32.
    * ``answer(prompt, text) -> str``: what is said instead. With `asks = False` the model is not asked, and text is "".

    needs: fields of `Known` that it cannot do without.
    """

    name: ClassVar[str] = "action"
    needs: ClassVar[tuple[str, ...]] = ()
    models: ClassVar[tuple[str, ...]] = ()
    """Of `combine`: names of auxiliary models, in the order of its arguments after the guarded model's."""
    asks: ClassVar[bool] = True
    """Of `answer`: whether the model is asked first."""

    def fit(self, known: Known, loaded: LoadedModel | None) -> Self:
        """An action that is ready. loaded: the guarded model, None where it is elsewhere."""
        return self

    def beside(self, detector: Detector) -> Self:
        """With what the fitted detector has found, for an action that acts on it."""
        return self

    def joining(self, loaded: LoadedModel) -> tuple[list[LoadedModel], Callable[..., Any]]:
        """Of `combine`: (further models made from the guarded one, whose logits come after those of `models`; what combines all).

        It is asked where the model is, which may be another machine than that of `fit`.
        """
        combine: Callable[..., Any] = self.combine  # type: ignore[attr-defined]
        return [], combine

    def group(self, loaded: LoadedModel, prompt: Prompt) -> object:
        """Prompts of one group share their hooks, or what `during` sets."""
        return None

    def describe(self) -> dict[str, Any]:
        """What a manifest keeps: everything that can change an answer."""
        return {"kind": type(self).__name__, **self.options()}


def place_of(action: Action) -> str:
    """Where the action acts: "query", "hooks", "combine" or "answer". ValueError unless it is exactly one of them."""
    found = [place for place in PLACES if hasattr(action, place)]
    if len(found) != 1:
        raise ValueError(
            f"{type(action).__name__} must define exactly one of {', '.join(PLACES)}; it defines {', '.join(found) or 'none'}."
        )
    return found[0]


@dataclass(frozen=True, kw_only=True)
class Guard(Facts):
    """A detector and an action, with what is known of where they come from."""

    detector: Detector
    action: Action

    @property
    def needs(self) -> tuple[str, ...]:
        """What of `Known` it cannot do without: fields, and "auxiliary NAME"."""
        models = (f"auxiliary {name}" for name in self.action.models)
        return tuple(dict.fromkeys([*self.detector.needs, *self.action.needs, *models]))

    def options(self) -> dict[str, Any]:
        """Every option with its value: those of the detector and of the action."""
        return {**self.detector.options(), **self.action.options()}

    def with_options(self, **options: Any) -> Guard:
        """The guard with these options changed. InputError for one that it does not have."""
        known = self.options()
        for name in options:
            if name not in known:
                there = ", ".join(known) or "none"
                raise InputError(f"Guard {self.name!r} has no option {name!r}; its options: {there}.")
        detector, action = (_changed(part, options) for part in (self.detector, self.action))
        return replace(self, detector=detector, action=action)


def _changed(part: Any, options: dict[str, Any]) -> Any:
    own = part.options()
    return replace(part, **{name: value for name, value in options.items() if name in own})


def calibrated(guard: Guard) -> bool:
    """Whether the detector's threshold was set on retain prompts."""
    return isinstance(guard.detector, Threshold) and guard.detector.keep > 0


def fitted_on(guard: Guard, known: Known) -> frozenset[str]:
    """Ids of the retain prompts that the detector learned from, or that its threshold was calibrated on."""
    learned = "retain" in guard.detector.needs or calibrated(guard)
    return frozenset(prompt.id for prompt in known.retain) if learned else frozenset()


def known_hashes(guard: Guard, known: Known) -> dict[str, str]:
    """Hashes of the prompts that the guard was given, by their field of `Known`."""
    return {
        name: prompts_hash(getattr(known, name))
        for name in ("forget", "retain")
        if name in guard.needs or (name == "retain" and calibrated(guard))
    }


GUARDS: Registry[Guard] = Registry("guard")


def guard(name: str, *, act: Action, detect: Detector | None = None, **facts: Any) -> Guard:
    """Register a guard. detect: None acts on every prompt; facts: see `Facts`.

    ValueError for an action that acts in no place or in several, and for options that detector and action share.
    """
    detector = detect or Always()
    place_of(act)
    if double := set(detector.options()) & set(act.options()):
        raise ValueError(f"Guard {name}: detector and action both have an option {sorted(double)[0]!r}.")
    return GUARDS.add(name, Guard(name=name, detector=detector, action=act, **facts))
