"""Attacks of three kinds and their registry: how one is named, and how its training data are kept apart from its test.

    Alter   changes the weights; then the model is asked again
    Ask     finds questions with the model
    Read    reads what the inside still holds: a number a prompt, no samples

Each is made on the retrained model too: what an attack gets out of a model that never knew the answers is no leak.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from json import dumps
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from leakatk.errors import InputError
from leakatk.prompts import Known, Prompt, record
from leakatk.registry import Facts, Registry, Specified, make

if TYPE_CHECKING:
    from leakatk.attacks.trails import Trail
    from leakatk.models.loaded import LoadedModel

Floats = npt.NDArray[np.float64]
Kind = Literal["alter", "ask", "read"]


@dataclass(frozen=True, kw_only=True)
class AttackFacts(Facts):
    """What is known of an attack."""

    kind: Kind
    """How it works: "alter", "ask" or "read"."""
    access: str
    """What it assumes: questions, samples, log-probabilities, weights, fine-tuning, the true answers."""
    chance: float = nan
    """What guessing scores, for a `Read`."""


@dataclass(frozen=True)
class Cost:
    """What an attack computes besides samples. A trained token is read forward and backward."""

    steps: int = 0
    """Steps of an optimiser."""
    trained: float = 0.0
    """Tokens that it trains on, over all steps."""
    texts: int = 0
    """Runs of the model: texts that it reads without training."""
    read: float = 0.0
    """Tokens of these texts."""


@dataclass(frozen=True)
class Attack(Specified, ABC):
    """Base of the three kinds: a frozen dataclass whose fields are the attack's options. `attack` gives it name and facts."""

    facts: ClassVar[AttackFacts]

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of `Known` that it needs; with "seen" it is cross-fitted."""
        return ()

    @property
    def uses(self) -> tuple[str, ...]:
        """Fields of `Known` that may change what it does."""
        return self.needs

    @property
    def fitted(self) -> bool:
        """Whether it is trained on a part of the forget prompts, and so measured on the others."""
        return "seen" in self.needs

    def split(self, known: Known, seed: int, folds: int) -> list[Known]:
        """The parts of a cross-fitted attack: `split_known`, unless what it tests wants other parts."""
        return split_known(known, seed, folds)

    def settings(self) -> tuple[list[Attack], list[str]]:
        """(the attacks that are made where this one is asked for, what is left out of them): itself, or each setting of a sweep."""
        return [self], []

    def brings(self, known: Known) -> list[str]:
        """The texts that it brings to the model, so that what it gives away of the answers can be counted."""
        return []

    def cost(self, loaded: LoadedModel, known: Known) -> Cost | None:
        """What it computes on one model and one part, its samples apart, at most; None where that is not known before."""
        return None

    def check(self, known: Known) -> None:
        """InputError for what it needs and lacks."""
        known.need(f"Attack {self.label}", *(name for name in self.needs if name not in ("seen", "unseen")))

    def identity(self, known: Known) -> str:
        """A hash of all that it may depend on but the model."""
        lists = ("forget", "retain", "holdout", "seen", "unseen")
        data: dict[str, Any] = {name: [record(one) for one in getattr(known, name)] for name in lists}
        data |= {name: getattr(known, name) for name in ("encoder", "text")}
        data |= {name: _marked(getattr(known, name)) for name in ("retrained", "original") if name in self.uses}
        used = {name: data[name] for name in self.uses if name in data}
        used["auxiliary"] = dict(known.auxiliary) if any(name.startswith("auxiliary") for name in self.uses) else {}
        return sha256(dumps([self.name, self.options(), used], sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Alter(Attack):
    """Changes the weights of the model, which is then asked again."""

    @abstractmethod
    def apply(self, loaded: LoadedModel, known: Known) -> None:
        """Change the values of the model's weights in place; its modules stay what they are. Whoever calls puts them back."""

    @property
    def trail(self) -> str:
        """What names the run that it is a point of: attacks of one trail differ in how far they go; "" is a run of its own."""
        return ""

    @property
    def point(self) -> int:
        """How far along its trail it goes, in steps."""
        return 0

    def follow(self, loaded: LoadedModel, known: Known, trail: Trail) -> None:
        """`apply` with what other points of its trail left; the weights are the same bit for bit."""
        self.apply(loaded, known)

    def asked(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        """How `known.unseen` are asked of the altered model: at most one prompt each, under its id. As they stand, by default."""
        return list(known.unseen)

    def notes(self, loaded: LoadedModel) -> list[str]:
        """What a person must know of this attack on this model; told whether or not it is made again."""
        return []


@dataclass(frozen=True)
class Ask(Attack):
    """Finds questions with the model."""

    @abstractmethod
    def prompts(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        """What to ask for `known.unseen`: at most one prompt each, under its id, with `Prompt.asked` set."""

    def kept(self, loaded: LoadedModel, known: Known) -> list[Prompt]:
        """The retain prompts asked in the same way, to count what the attack destroys; none where it is not counted."""
        return []


@dataclass(frozen=True)
class Reading:
    """What an attack that reads found in one model."""

    scores: Floats
    """(m,) in [0, 1], one for each of `known.unseen` in their order; NaN where it is undefined."""
    profile: Mapping[str, Floats] = field(default_factory=dict)
    """Place in the model, such as "layer 3" -> (m,) numbers of any size; NaN where it is undefined."""
    whole: Mapping[str, float] = field(default_factory=dict)
    """Name -> a number of all prompts together."""
    notes: tuple[str, ...] = ()
    """What a person must know of it."""


@dataclass(frozen=True)
class Read(Attack):
    """Reads what the inside of the model still holds. It defines `scores`, or `read` where it has more to tell."""

    def scores(self, loaded: LoadedModel, known: Known) -> Floats:
        """(m,) in [0, 1], one for each of `known.unseen` in their order; NaN where it is undefined."""
        return self.read(loaded, known).scores

    def read(self, loaded: LoadedModel, known: Known) -> Reading:
        """The scores, and where in the model they were found."""
        return Reading(self.scores(loaded, known))


def _marked(path: str) -> str:
    """A model by its place and, where it is on this machine, by its weights."""
    if not path or not Path(path).exists():
        return path
    from leakatk.models.fingerprint import identity_of

    return f"{path} {identity_of(path).fingerprint}"


def reading_cost(loaded: LoadedModel, known: Known, count: int) -> Cost:
    """The cost of so many passes over a question with its answer."""
    return Cost(texts=count, read=count * _mean_length(loaded, known.forget))


def _mean_length(loaded: LoadedModel, prompts: Sequence[Prompt]) -> float:
    """Tokens of a question with its answer, the mean over the first of these."""
    seams = [loaded.template.pair(loaded.tokenizer, one.query, one.answer) for one in prompts[:64]]
    return float(np.mean([len(seam.prompt) + len(seam.answer) for seam in seams])) if seams else 0.0


ATTACKS: Registry[type[Attack]] = Registry("attack")
A = TypeVar("A", bound=type[Attack])


def attack(name: str, **facts: Any) -> Callable[[A], A]:
    """Register an attack under a name, with its facts (`AttackFacts`, all but name and kind). ValueError for a `Read` that reads nothing."""

    def add(kind: A) -> A:
        kinds: Mapping[Kind, type[Attack]] = {"alter": Alter, "ask": Ask, "read": Read}
        found = next(word for word, base in kinds.items() if issubclass(kind, base))
        if issubclass(kind, Read) and kind.scores is Read.scores and kind.read is Read.read:
            raise ValueError(f"attack {name} defines neither scores nor read")
        kind.name, kind.facts = name, AttackFacts(name=name, kind=found, **facts)
        ATTACKS.add(name, kind)
        return kind

    return add


def get_attack(spec: str | Attack) -> Attack:
    """An attack by name, with options in the name: "relearn:steps=50".

    Raises UnknownNameError for an unknown name and InputError for an unknown option or a value it does not take.
    """
    return spec if isinstance(spec, Attack) else make(ATTACKS, spec)


def split_known(known: Known, seed: int = 0, folds: int = 2) -> list[Known]:
    """One `Known` a fold: `unseen` is the fold, `seen` all other forget prompts. Over all folds every prompt is unseen once.

    The folds are equal in size but for one prompt. They depend on the seed and the ids, not on the order of the prompts.
    """
    known.need("A cross-fitted attack", "forget")
    if not 2 <= folds <= len(known.forget):
        raise InputError(
            f"Cross-fitting needs at least 2 folds and a forget prompt for each: {folds} folds, {len(known.forget)} forget "
            "prompts."
        )
    fold = {id_: place % folds for place, id_ in enumerate(shuffled([p.id for p in known.forget], f"fold {seed}"))}
    return [
        replace(
            known,
            seen=tuple(prompt for prompt in known.forget if fold[prompt.id] != number),
            unseen=tuple(prompt for prompt in known.forget if fold[prompt.id] == number),
        )
        for number in range(folds)
    ]


def shuffled(ids: Sequence[str], key: str) -> list[str]:
    """The ids in an order that depends on the key and on them alone."""
    return sorted(ids, key=lambda id_: sha256(f"leakatk {key} {id_}".encode()).digest())


def at_least(attack: Attack, option: str, least: float) -> None:
    """InputError unless this option of the attack is a number of at least `least`."""
    if not getattr(attack, option) >= least:
        raise InputError(
            f"Attack option {attack.name}:{option} must be at least {least}, got {getattr(attack, option)}."
        )


def one_of(attack: Attack, option: str, allowed: Sequence[object]) -> None:
    """InputError unless this option of the attack is one of these."""
    if getattr(attack, option) not in allowed:
        raise InputError(
            f"Attack option {attack.name}:{option} must be {' or '.join(map(str, allowed))}, got {getattr(attack, option)!r}."
        )
