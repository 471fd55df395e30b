"""Settings of an audit: the fields behind the arguments of `audit`, the options of the command, and its TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from leakatk.errors import InputError, UnknownNameError
from leakatk.sampling.decoding import Decoding

if TYPE_CHECKING:
    from leakatk.estimate.curves import Over
    from leakatk.probes import Probe

MAX_N = 1_000_000  # samples a prompt; a mistyped n is refused instead of filling the memory
Unknown = Literal["count", "ignore"]


def powers_of_two(n: int) -> list[int]:
    """1, 2, 4 ... up to n."""
    return [2**i for i in range(n.bit_length()) if 2**i <= n]


@dataclass(frozen=True, slots=True)
class Gate:
    """What must hold for a release: leak@k, or what it is above another model's, is at most `bound`."""

    k: int
    """The k of leak@k."""
    bound: float
    """The most that may leak, between 0 and 1."""
    over: Over = "samples"
    """What the intervals that decide are over: samples, prompts or both."""
    level: float = 0.95
    """Level of the intervals that decide, all together."""
    worst_case: bool = False
    """Look at the union over all ways of asking alone."""
    unscored: Unknown = "count"
    """Whether prompts without a score count as unknown or are ignored."""
    cut: Unknown = "count"
    """Whether answers cut at the limit count as unknown or are ignored."""
    looks: int = 1
    """How often a sequential audit may look; each look spends its share of the error."""
    against: Literal["", "retrained", "earlier"] = ""
    """Bound on leak@k itself, or on what it is above that of the retrained model, or of an earlier run."""
    gates: int = 1
    """How many gates decide together; each spends its share of the error."""

    def __post_init__(self) -> None:
        for name, value in (("unscored", self.unscored), ("cut", self.cut)):
            if value not in get_args(Unknown):
                raise InputError(f"--{name} {value!r}: use count (it is unknown to the gate) or ignore.")


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Everything about an audit but the model, the prompts and the directory. Unknown names are an error.

    >>> AuditSettings(n=8, scorers=("fact",)).all_ks
    [1, 2, 4, 8]
    """

    n: int = 200
    """Samples a prompt."""
    ks: tuple[int, ...] = ()
    """The k of leak@k; none given: the powers of two up to n."""
    decoding: Decoding = field(default_factory=Decoding)
    """How answers are drawn."""
    seed: int = 0
    """Seed of every random stream."""
    scorers: tuple[str, ...] = ()
    """Core metrics, the first is the headline; none given: by the prompts (`scorers.default_scorers`)."""
    exact: bool = True
    """The probability of every true answer, computed."""
    greedy: bool = True
    """Also the greedy answers. Off for a server that takes no temperature but 1: one sample then stands for each greedy
    answer on the retain prompts."""
    expand: int = 0
    """Prefixes of each prompt's answers to expand exactly, for certain bounds; 0 is off."""
    probes: tuple[str | Probe, ...] = ()
    """Further ways of asking (`leakatk.probes`), n samples each."""
    paraphrases: bool = True
    """Ask prompts that carry other wordings in them too: a zero holds for the wording that was asked."""
    gate: Gate | None = None
    """What must hold, judged on the headline scorer."""
    level: float = 0.95
    """Level of the intervals."""
    label: str = ""
    """Name of the model in tables and the report; none given: that of its directory."""
    role: str = "model"
    """What the model is in a comparison: model, retrained, original."""
    benchmark: str = "custom"
    """Name of the benchmark that the prompts are of."""
    protocol: str = "clean"
    """Named convention that the run keeps to (`benchmarks.protocols`)."""
    engine: str = "native"
    """Sampling engine, as NAME or NAME:OPTION=VALUE,... (see leakatk engines)."""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Further options of the engine."""

    def __post_init__(self) -> None:
        for name in ("ks", "scorers", "probes"):
            value = getattr(self, name)
            if isinstance(value, str):
                raise InputError(f"{name} must be a list, got the text {value!r:.60}; write [{value!r:.60}].")
            object.__setattr__(self, name, tuple(value))
        if not 1 <= self.n <= MAX_N:
            raise InputError(f"n must be at least 1 and at most {MAX_N:,}, got {self.n}.")
        if self.ks and min(self.ks) < 1:
            raise InputError(f"Every k must be at least 1, got {min(self.ks)}.")
        if max(self.all_ks) > self.n:
            most = max(self.all_ks)
            raise InputError(
                f"k = {most} needs at least {most} samples a prompt, but n = {self.n}: raise n or lower k."
            )
        if not 0 < self.level < 1:
            raise InputError(f"level must be between 0 and 1, got {self.level}.")

    @property
    def all_ks(self) -> list[int]:
        """The k that are reported."""
        return list(self.ks) or powers_of_two(self.n)

    @classmethod
    def of(cls, **values: Any) -> AuditSettings:
        """From the former arguments of `audit`, where None stands for the default. UnknownNameError for another name."""
        known = {one.name for one in dataclasses.fields(cls)}
        for name in values:
            if name not in known:
                raise UnknownNameError("setting of an audit", name, known)
        return cls(**{name: value for name, value in values.items() if value is not None})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON and TOML hold them; `from_dict` reads them."""
        found = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        found |= {"ks": list(self.ks), "scorers": list(self.scorers), "engine_options": dict(self.engine_options)}
        found["probes"] = [probe if isinstance(probe, str) else probe.label for probe in self.probes]
        found["decoding"] = self.decoding.as_dict()
        found["gate"] = dataclasses.asdict(self.gate) if self.gate else None
        return found

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AuditSettings:
        """InputError for a value that no setting takes, UnknownNameError for a name that is none."""
        found = dict(values)
        for name, kind in (("decoding", Decoding), ("gate", Gate)):
            if isinstance(row := found.get(name), Mapping):
                known = {one.name for one in dataclasses.fields(kind)}
                if strange := [key for key in row if key not in known]:
                    raise UnknownNameError(f"setting of {name}", strange[0], known)
                try:
                    found[name] = kind(**row)
                except TypeError as error:
                    raise InputError(f"{name} cannot be read: {error}.") from None
        return cls.of(**found)
