"""Settings of RULE, and what is known of it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from leakatk.errors import InputError
from leakatk.registry import Facts
from leakatk.sampling.decoding import Decoding

RULE_FACTS = Facts(
    name="rule",
    summary="what the model leaks when it is sampled is unlearned, in rounds around another method; our reconstruction",
    paper="Leak@k, arXiv 2511.04934 (v2 adds RULE)",
    formula="A: leaks found so far, none at first. Each round: n answers to every forget prompt; those that leak (score >= "
    "threshold) and are new join A, at most `cap` a prompt; then steps of the base method on forget + A, with R on retain. "
    "Ends when a round finds no leak, at the target (upper bound of leak@k on fresh samples), or after the last round",
    source="published: sampled leaks augment the forget set, in rounds (three on TOFU), around NPO, GradDiff, SimNPO or RMU, "
    "with a retain term, from an unlearned model; the numbers that are not published are ours",
    rows=("88",),
    reading="samples a prompt, threshold, cap, start of a round, reference and stop rule are not published: each is an option",
    tags=frozenset({"suppression", "forget", "retain"}),
    example="leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --out models/rule",
)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """What RULE samples, what joins the forget set, where rounds start, and when to stop.

    A run with a target or a yardstick keeps the model nearest to it, the start included (the latest of equals). It stops
    there and goes no further below: a model far below the retrained one can be told from it. Where the strategy of the
    rounds aims at something too (`leakatk.unlearning.rule.calibration`), what is missed of it is added to the distance:
    one question's leak is weighed against a lost tenth of the answers. With neither, the run ends when a round finds no
    leak.
    """

    rounds: int = 3
    """At most this many."""
    n: int = 128
    """Samples a prompt, decoding and wording."""
    threshold: float = 0.8
    """A score at or above it is a leak."""
    cap: int = 4
    """Distinct new leaks a prompt and round that join the forget set, at most."""
    keep: Literal["cumulative", "latest"] = "cumulative"
    """Which leaks a round trains on: those of all rounds so far, or those of its own detection."""
    start: Literal["warm", "restart"] = "warm"
    """A round goes on from the last one ("warm"), or begins again from the model given ("restart")."""
    reference: Literal["round", "original"] = "round"
    """What losses with a reference compare with: the model at the start of the round, or the one given."""
    decodings: tuple[Decoding, ...] = (Decoding(),)
    """How the detection samples; the worst one counts."""
    wordings: int = 0
    """How many of a prompt's paraphrases are asked besides its own question, from the first; the others never are."""
    leak_wordings: Literal["drawn", "all"] = "drawn"
    """A leak joins the forget set under the wording that drew it, or under all wordings that are asked ("all")."""
    weighting: Literal["even", "frequency"] = "even"
    """Forget items are drawn evenly, or a leak as often as it was sampled ("frequency")."""
    chunk: int = 0
    """Samples at a time; a prompt that has `cap` new leaks is sampled no further. 0: always all n."""
    exact_at: int = 0
    """With k > 0: an answer (the truth, or a leak found before) that k samples would show with probability over 1/2 counts
    as a leak without being sampled, keeps the run going, and joins the forget set. 0: off."""
    k: int = 128
    """The k of the leak@k that target and yardstick are about."""
    level: float = 0.95
    """Confidence of the certified bound."""
    target: float | None = None
    """Stop once the certified upper bound of leak@k, on fresh samples, is at most this."""
    yardstick: float | None = None
    """Stop once leak@k itself is at most this: the retrained model's, from `detected_level`."""
    utility_floor: float = 0.0
    """A model below it is never chosen. A round that ends below it, no better than it began, ends the run, unless the
    strategy can mend."""
    augment: bool = True
    """False is the control: the same rounds and steps, no detection, no leaks added."""

    def __post_init__(self) -> None:
        for name in ("rounds", "n", "cap", "k"):
            if getattr(self, name) < 1:
                raise InputError(f"RuleSettings.{name} must be at least 1, got {getattr(self, name)}.")
        for name in ("wordings", "chunk", "exact_at"):
            if getattr(self, name) < 0:
                raise InputError(f"RuleSettings.{name} must be at least 0, got {getattr(self, name)}.")
        if self.k > self.n:
            raise InputError(
                f"RuleSettings.k={self.k} needs at least as many samples, got n={self.n}; raise n or lower k."
            )
        if not self.decodings:
            raise InputError("RuleSettings.decodings is empty; give at least one Decoding.")
        if not 0 < self.threshold <= 1:
            raise InputError(f"RuleSettings.threshold must be above 0 and at most 1, got {self.threshold}.")
        if not 0 < self.level < 1:
            raise InputError(f"RuleSettings.level must be between 0 and 1, such as 0.95, got {self.level}.")
        choices = {
            "keep": ("cumulative", "latest"),
            "start": ("warm", "restart"),
            "reference": ("round", "original"),
            "weighting": ("even", "frequency"),
            "leak_wordings": ("drawn", "all"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise InputError(f"RuleSettings.{name} must be {' or '.join(allowed)}, got {getattr(self, name)!r}.")

    def as_dict(self) -> dict[str, Any]:
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        if self.leak_wordings == "drawn":  # runs from before it was a field stay the same run
            del values["leak_wordings"]
        return {**values, "decodings": [d.as_dict() for d in self.decodings]}
