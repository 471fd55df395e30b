"""Strategy, what a round of RULE trains. The one of the paper repeats the base method on the augmented forget set.

Another strategy (`leakatk.unlearning.rule.calibration.Calibrate`) is any object of the form of `Strategy`; RULE knows
none of them by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from torch import Tensor

from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.unlearning.methods import Method
from leakatk.unlearning.rule.detect import Leak, wordings
from leakatk.unlearning.rule.settings import RuleSettings


@dataclass(frozen=True)
class RoundStart:
    """What a strategy is told at the start of a round, after its detection."""

    number: int
    """From 1."""
    loaded: LoadedModel
    """The model that the round trains, as it is now."""
    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    base: Method
    """The method that RULE wraps."""
    leaks: Sequence[Leak]
    """Those that join the forget set."""
    options: RuleSettings
    seed: int
    original: Mapping[str, Tensor] | None
    """The weights before the first round, where `options.reference` asks for them; None: the reference is the round's start."""


@dataclass(frozen=True)
class Training:
    """What `unlearn` is given in a round."""

    forget: list[Prompt]
    retain: Sequence[Prompt]
    method: Method
    weights: list[float] | None = None
    """How often each forget prompt is drawn; None: evenly."""
    reference: Mapping[str, Tensor] | None = None
    """Weights that losses with a reference compare with; None: the model at the start of the round."""


class Strategy(Protocol):
    """What rounds train, and what they aim at besides the leak."""

    @property
    def mends(self) -> bool:
        """Whether a round can win utility back: then a round below the floor does not end the run."""

    def identity(self) -> dict[str, Any]:
        """Entries of rule.json that tell this strategy from another one; {} for the base method repeated."""

    def begin(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> None:
        """Change the model in place before the first round, where the strategy starts elsewhere."""

    def measure(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> dict[str, float]:
        """Numbers of the model at a round's start, for its record: {} where the strategy aims at nothing of its own."""

    def missing(self, metrics: Mapping[str, float]) -> float:
        """How far these numbers are from what the strategy aims at, 0 when it is reached."""

    def training(self, start: RoundStart) -> Training:
        """What the round trains."""


class Goal(Protocol):
    """Something that makes a strategy."""

    def strategy(self) -> Strategy: ...


@dataclass(frozen=True)
class RepeatBase:
    """The paper's strategy, in our reconstruction: the base method again, on the forget set and the leaks found."""

    @property
    def mends(self) -> bool:
        return False

    def identity(self) -> dict[str, Any]:
        return {}

    def begin(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> None:
        return None

    def measure(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> dict[str, float]:
        return {}

    def missing(self, metrics: Mapping[str, float]) -> float:
        return 0.0

    def training(self, start: RoundStart) -> Training:
        items, weights = with_leaks(start.forget, start)
        return Training(items, start.retain, start.base, weights, start.original)


def with_leaks(prompts: Sequence[Prompt], start: RoundStart) -> tuple[list[Prompt], list[float] | None]:
    """The prompts and then the leaks of the round as prompts with ids of their own, and how often each is drawn (None: evenly).

    A leak has the question that drew it, and with `leak_wordings="all"` the others that are asked as well, each question
    and answer once; it is otherwise like its forget prompt.
    """
    sources = {prompt.id: prompt for prompt in start.forget}
    items, weights = list(prompts), [1.0] * len(prompts)
    there = {(prompt.question, prompt.answer) for prompt in prompts}
    there |= {(leak.question, leak.answer) for leak in start.leaks}
    for i, leak in enumerate(start.leaks):
        own, questions = sources[leak.prompt_id], [leak.question]
        if start.options.leak_wordings == "all":
            others = [p.question for p in wordings(own, start.options.wordings)]
            questions += [text for text in others if (text, leak.answer) not in there]
            there |= {(text, leak.answer) for text in questions}
        for j, question in enumerate(questions):
            name = f"{leak.prompt_id}#{i}" + (f".{j}" if j else "")
            items.append(replace(own, id=name, question=question, answer=leak.answer))
            weights.append(max(leak.count, 1) / start.options.n)
    return items, weights if start.options.weighting == "frequency" else None


def strategy_of(strategy: Strategy | None, matching: Goal | None) -> Strategy:
    """The strategy asked for. matching: its former name, a goal such as `match_unseen` gives."""
    if strategy is not None and matching is not None:
        raise InputError("Give strategy=... alone: matching is its former name.")
    if matching is not None:
        return matching.strategy()
    return strategy if strategy is not None else RepeatBase()
