"""Results of an audit, as values with names: what results.json holds, and how it is written and read.

`as_dict` gives the keys of results.json in their order, `from_dict` reads those of this and of former versions. The model
that never saw the data is `retrained` here and "reference" on disk. What is not there is None and is left out.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from leakatk.errors import RunError
from leakatk.estimate.curves import ExcessCurve, LeakCurve
from leakatk.runs.store import Run

Answer = Literal["PASS", "FAIL", "CANNOT SAY"]
B = TypeVar("B", bound="Block")


def _on_disk(of: type[Block] | None = None, *, many: bool = False, key: str = "", null: bool = False) -> dict[str, Any]:
    """How a field is kept. of: the block it holds, by name where `many`.  key: its name on disk.

    null: NaN means "measured, yet undefined", and is null on disk.
    """
    return {"of": of, "many": many, "key": key, "null": null}


@dataclass(frozen=True, kw_only=True)
class Block:
    """A part of results.json. others: keys that this version does not know, kept as they were."""

    others: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As results.json holds it."""
        found: dict[str, Any] = {}
        for one in _fields(type(self)):
            value = getattr(self, one.name)
            if one.metadata.get("null") and value is not None:
                value = None if math.isnan(value) else value
            elif value is None:
                continue
            found[one.metadata.get("key") or one.name] = _plain(value)
        return found | dict(self.others)

    @classmethod
    def from_dict(cls: type[B], row: Mapping[str, Any], where: str = "results.json") -> B:
        """As `as_dict` gives it. RunError, which begins with `where`, for anything else."""
        if not isinstance(row, Mapping):
            raise RunError(f"{where} holds {row!r:.60} where a block of results belongs: run the same audit again.")
        left, given = dict(row), {}
        for one in _fields(cls):
            key = one.metadata.get("key") or one.name
            if key not in left:
                if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING:
                    raise RunError(f"{where} has no {key!r}: it was damaged or edited; run the same audit again.")
                continue
            value = left.pop(key)
            if value is None:
                value = math.nan if one.metadata.get("null") else None
            elif of := one.metadata.get("of"):
                value = _blocks(of, value, f"{where}: {key}", many=one.metadata["many"])
            given[one.name] = value
        return cls(**given, others=left)


def _fields(cls: type[Block]) -> list[dataclasses.Field[Any]]:
    return [one for one in dataclasses.fields(cls) if one.name != "others"]


def _blocks(of: type[Block], value: Any, where: str, *, many: bool) -> Any:
    if isinstance(value, list):
        return [of.from_dict(row, where) for row in value]
    if many and isinstance(value, Mapping):
        return {name: of.from_dict(row, f"{where}: {name}") for name, row in value.items()}
    return of.from_dict(value, where)


def _plain(value: Any) -> Any:
    if isinstance(value, Block):
        return value.as_dict()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@dataclass(frozen=True, kw_only=True)
class CurveResult(Block):
    """leak@k, or the excess over the retrained model, with its interval at each k."""

    k: Sequence[int]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]

    @classmethod
    def of(cls, curve: LeakCurve | ExcessCurve) -> CurveResult:
        return cls(
            k=[int(k) for k in curve.k],
            value=[float(v) for v in curve.value],
            low=[float(v) for v in curve.low],
            high=[float(v) for v in curve.high],
        )


@dataclass(frozen=True, kw_only=True)
class CurvesOnly(Block):
    """The curves of the retrained model, by what the interval is over."""

    curves: Mapping[str, CurveResult] = field(metadata=_on_disk(CurveResult, many=True))


@dataclass(frozen=True, kw_only=True)
class BoundsResult(Block):
    """leak@k at any k, between certain bounds. unknown: mean mass of the answers that were not met."""

    k: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
    unknown: float


@dataclass(frozen=True, kw_only=True)
class ForecastResult(Block):
    """leak@k beyond the samples drawn. low_by, high_by: the instrument that gave each bound.  line: by a model."""

    k: Sequence[int]
    low: Sequence[float]
    high: Sequence[float]
    low_by: Sequence[str]
    high_by: Sequence[str]
    line: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class LeakResult(Block):
    """leak@k of one scorer, by what the interval is over (samples, prompts, both), and the excess, paired by prompt."""

    curves: Mapping[str, CurveResult] = field(metadata=_on_disk(CurveResult, many=True))
    prompt_ids: Sequence[str]
    """The prompts that were scored: the rows of `per_prompt`."""
    per_prompt: Sequence[Sequence[float]]
    """(prompts, ks) leak@k of each prompt."""
    retrained: CurvesOnly | None = field(default=None, metadata=_on_disk(CurvesOnly, key="reference"))
    excess: Mapping[str, CurveResult] | None = field(default=None, metadata=_on_disk(CurveResult, many=True))


@dataclass(frozen=True, kw_only=True)
class ScorerResult(Block):
    """One scorer on one run."""

    m: int | None = None
    """Prompts that it scored, which every number here is of."""
    parts: Mapping[str, int] | None = None
    """Prompts by the scorer that judged them, for one that chooses by prompt."""
    scored_by: str | None = None
    """The same in a sentence; "" for one that judges all alike."""
    n: int | None = None
    """Samples a prompt."""
    undefined: Sequence[str] = ()
    """Prompts that it could not score."""
    missing: int = 0
    """Further samples without a score."""
    greedy: float = field(default=math.nan, metadata=_on_disk(null=True))
    """Mean score of the greedy answers; NaN where there are none or none is defined."""
    mean: float = field(default=math.nan, metadata=_on_disk(null=True))
    """Mean score of the samples."""
    curves: Mapping[str, CurveResult] = field(metadata=_on_disk(CurveResult, many=True))
    prompt_ids: Sequence[str]
    per_prompt: Sequence[Sequence[float]]
    retain: float | None = field(default=None, metadata=_on_disk(null=True))
    """Mean score of the greedy answers to the retain prompts; None without any."""
    retrained: CurvesOnly | None = field(default=None, metadata=_on_disk(CurvesOnly, key="reference"))
    excess: Mapping[str, CurveResult] | None = field(default=None, metadata=_on_disk(CurveResult, many=True))
    bounds: BoundsResult | None = field(default=None, metadata=_on_disk(BoundsResult))
    """Certain bounds, for scores that are 0 or 1."""
    forecast: ForecastResult | None = field(default=None, metadata=_on_disk(ForecastResult))
    """Beyond the samples drawn, for scores that are 0 or 1."""


@dataclass(frozen=True, kw_only=True)
class ProbeResult(Block):
    """One way of asking."""

    m: int
    """Prompts that the probe makes."""
    left_out: Sequence[str]
    """Prompts that it cannot ask."""
    gives_answer: bool
    """Whether it gives the answer away: what it shows is then not knowledge."""
    answers: Mapping[str, int] | None = None
    """Answers in all, cut, empty ..."""
    scorers: Mapping[str, ScorerResult] = field(metadata=_on_disk(ScorerResult, many=True))


@dataclass(frozen=True, kw_only=True)
class WorstResult(Block):
    """The worst case over all ways of asking. ways: how many there are, mean over the prompts."""

    ways: float
    scorers: Mapping[str, LeakResult] = field(metadata=_on_disk(LeakResult, many=True))


@dataclass(frozen=True, kw_only=True)
class ReasoningResult(Block):
    """The scorers on what the model thought before its answers."""

    scorers: Mapping[str, ScorerResult] = field(metadata=_on_disk(ScorerResult, many=True))


@dataclass(frozen=True, kw_only=True)
class ExactResult(Block):
    """Exact verbatim leak@k. logp: prompt id -> log-probability of its true answer, None where it cannot be said."""

    k: Sequence[int]
    value: Sequence[float]
    logp: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class SettingVerdict(Block):
    """One way of asking under one decoding, as a gate sees it: the ends of leak@k, and what is unknown."""

    name: str
    answer: Answer
    low: float
    high: float
    high_if_clean: float
    """Where the upper end would be if nothing unknown leaked."""
    prompts: int
    samples: int
    unscored: int
    missing: int
    cut: int
    ignored: int


@dataclass(frozen=True, kw_only=True)
class GateVerdict(Block):
    """The verdict of a gate on all settings together."""

    answer: Answer
    reason: str
    """One sentence: why, and what it holds for."""
    why: str | None = None
    """The same in short: what may leak, and what does. None in runs of former versions, as for what follows."""
    not_measured: Sequence[str] | None = None
    """Sentences on what is unknown, or was ignored because the user asked for it."""
    settles: str | None = None
    """What would turn CANNOT SAY into an answer; "" for another answer."""
    against: str | None = None
    """For a bound on a difference: retrained, or earlier."""
    compared: str | None = None
    """The run that the model was compared with."""
    k: int
    bound: float
    over: str
    level: float
    each_level: float
    """Of one interval, so that all looks and settings hold at `level` together."""
    looks: int
    low: float
    """Of the setting that decides."""
    high: float
    worst: str
    """The setting that decides."""
    unscored: str
    cut: str
    settings: Sequence[SettingVerdict] = field(default=(), metadata=_on_disk(SettingVerdict))


@dataclass(frozen=True, kw_only=True)
class Verdict(Block):
    """The verdict of all gates together: FAIL if one fails, PASS if all pass."""

    answer: Answer
    why: str
    """One sentence of the gate that decides."""
    not_measured: Sequence[str] = ()
    settles: str = ""


@dataclass(frozen=True, kw_only=True)
class FlaggedResult(Block):
    """How many prompts of one group a guard acted on."""

    flagged: int
    m: int
    """Prompts of the group."""
    value: float
    """The share of them."""
    low: float
    """Of the share among other prompts like these (Clopper-Pearson, at the audit's level)."""
    high: float
    fitted: int = 0
    """How many of these prompts its detector was fitted on; others may be flagged more or less often."""


@dataclass(frozen=True, kw_only=True)
class GuardResult(Block):
    """What a guard acted on, by group of prompts: those to be forgotten as asked and under each probe, those to be kept."""

    name: str
    always: bool = False
    """Whether it acts on every prompt, whatever is asked: it has no detector."""
    groups: Mapping[str, FlaggedResult] = field(metadata=_on_disk(FlaggedResult, many=True))


@dataclass(frozen=True, kw_only=True)
class AuditResults(Block):
    """Everything that an audit found. scorers: by their names with options, the headline first."""

    label: str
    role: str = "model"
    command: str = ""
    benchmark: str = ""
    protocol: str = ""
    decoding: str
    max_new_tokens: int | None = None
    m: int
    n: int
    level: float
    answers: Mapping[str, int] | None = None
    """Answers in all, cut, empty, with a thought."""
    wordings: Mapping[str, int] | None = None
    """Prompts asked in one wording only, and in several."""
    scorers: Mapping[str, ScorerResult] = field(metadata=_on_disk(ScorerResult, many=True))
    probes: Mapping[str, ProbeResult] | None = field(default=None, metadata=_on_disk(ProbeResult, many=True))
    reasoning: ReasoningResult | None = field(default=None, metadata=_on_disk(ReasoningResult))
    worst: WorstResult | None = field(default=None, metadata=_on_disk(WorstResult))
    retrained: Mapping[str, str] | None = field(default=None, metadata=_on_disk(key="reference"))
    """Name and fingerprint of the model that never saw the data."""
    exact: ExactResult | None = field(default=None, metadata=_on_disk(ExactResult))
    self_check: Mapping[str, Any] | None = None
    """Whether the samples hold the true answers as often as their exact probability says (`estimate.selfcheck`)."""
    expansion: Mapping[str, int] | None = None
    """Budget, and prefixes expanded."""
    gate: GateVerdict | None = field(default=None, metadata=_on_disk(GateVerdict))
    """On leak@k itself."""
    excess_gate: GateVerdict | None = field(default=None, metadata=_on_disk(GateVerdict))
    """On the excess over the retrained model."""
    earlier_gate: GateVerdict | None = field(default=None, metadata=_on_disk(GateVerdict))
    """On what is worse than in an earlier run."""
    verdict: Verdict | None = field(default=None, metadata=_on_disk(Verdict))
    """Of all gates together."""
    guard: GuardResult | None = field(default=None, metadata=_on_disk(GuardResult))
    """What the guard around the model acted on."""
    notes: Sequence[str] | None = None
    """Sentences that a person must see."""
    seconds: Mapping[str, float] = field(default_factory=dict)


def read_results(path: str | Path) -> AuditResults:
    """What an audit left in its directory. RunError where nothing is, or it is damaged."""
    path = Path(path)
    return AuditResults.from_dict(Run.open(path).results(), where=str(path / "results.json"))
