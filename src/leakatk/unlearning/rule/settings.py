"""Settings of RULE."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from leakatk.errors import InputError
from leakatk.sampling.decoding import Decoding


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """rounds: at most this many.  n: samples a prompt, decoding and wording.  threshold: a score >= it is a leak.
    cap: distinct new leaks a prompt and round that join the forget set.  keep: all rounds' leaks, or the latest's.
    start: a round continues ("warm") or begins again from the model given ("restart").  reference: what losses with a
    reference compare with: the model at the start of the round, or the original one.  decodings: sampled in detection.
    wordings: how many of a prompt's paraphrases are asked besides its own question.  weighting: forget items are drawn
    evenly, or by how often a leak was sampled ("frequency").  chunk: samples at a time; a prompt that has `cap` new
    leaks is sampled no further (0: always all n).  exact_at: with k > 0, an answer (the truth, or a leak found before)
    that k samples would show with probability over 1/2 counts as a leak without being sampled, keeps the run going and
    joins the forget set where it is not in it; 0 is off.

    Stop: k, level and target (the certified upper bound of leak@k on fresh samples must be at most `target`), or
    yardstick (leak@k itself at most this: the retrained model's, from `detected_level`). Neither: when a round finds no
    leak. A run that stops there goes no further below it: a model far below the retrained one can be told from it.
    With a target or a yardstick the model kept is the one nearest to it, the start included (the latest of equals); where
    rounds match the unseen, by the sum of what leak, exposure and fidelity miss, so that one question's leak is weighed
    against a lost tenth of the answers.
    utility_floor: a model below it is never chosen; a round that ends below it, no better than it began, ends the run
    (unless rounds match the unseen: they repair).
    augment False is the control: the same rounds and steps, no detection, no leaks added.
    """

    rounds: int = 3
    n: int = 128
    threshold: float = 0.8
    cap: int = 4
    keep: Literal["cumulative", "latest"] = "cumulative"
    start: Literal["warm", "restart"] = "warm"
    reference: Literal["round", "original"] = "round"
    decodings: tuple[Decoding, ...] = (Decoding(),)
    wordings: int = 0
    weighting: Literal["even", "frequency"] = "even"
    chunk: int = 0
    exact_at: int = 0
    k: int = 128
    level: float = 0.95
    target: float | None = None
    yardstick: float | None = None
    utility_floor: float = 0.0
    augment: bool = True

    def __post_init__(self) -> None:
        for name in ("rounds", "n", "cap", "k"):
            if getattr(self, name) < 1:
                raise InputError(f"RuleSettings.{name} must be at least 1, got {getattr(self, name)}.")
        if self.k > self.n:
            raise InputError(f"RuleSettings.k={self.k} needs at least as many samples, got n={self.n}.")
        if not self.decodings:
            raise InputError("RuleSettings.decodings is empty; give at least one Decoding.")
        if not 0 < self.threshold <= 1:
            raise InputError(f"RuleSettings.threshold must be above 0 and at most 1, got {self.threshold}.")
        choices = {
            "keep": ("cumulative", "latest"),
            "start": ("warm", "restart"),
            "reference": ("round", "original"),
            "weighting": ("even", "frequency"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"RuleSettings.{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}.")

    def as_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {**values, "decodings": [d.as_dict() for d in self.decodings]}
