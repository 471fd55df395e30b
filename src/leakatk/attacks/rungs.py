"""The rungs of an audit under attack, and how each is measured."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from leakatk.attacks.base import Alter, Attack, get_attack
from leakatk.attacks.trails import PLACE, Trail
from leakatk.auditing.asking import owner_of, place_of
from leakatk.auditing.verdict import Gate
from leakatk.errors import InputError
from leakatk.estimate.checks import check_level
from leakatk.estimate.curves import Over
from leakatk.prompts import Known, Prompt
from leakatk.runs.manifest import prompts_hash
from leakatk.runs.results import read_results
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding

Role = Literal["model", "retrained"]
UNASKED = "unasked.json"


@dataclass(frozen=True, kw_only=True)
class LadderSettings:
    """How every rung is measured."""

    n: int = 200
    """Samples a prompt."""
    ks: tuple[int, ...] = ()
    """Values of k; without any the powers of two up to n."""
    decoding: Decoding = field(default_factory=Decoding)
    """How answers are drawn."""
    seed: int = 0
    """Of the samples and of the folds."""
    scorers: tuple[str, ...] = ()
    """Core metrics, the first for the headline; without any what suits the prompts."""
    folds: int = 2
    """Parts of the forget prompts for attacks that are trained on them: each is measured by the attack trained on the others."""
    over: Over = "samples"
    """What the intervals of leak@k are over; those of attacks that read are always over prompts."""
    level: float = 0.95
    """Level at which the intervals of all rungs hold together."""
    gate: Gate | None = None
    """What must hold of the model under every attack that is sampled; the retrained model does not count."""
    excess_gate: Gate | None = None
    """What must hold of its excess over the retrained model under the same attacks."""
    engine: str = "native"
    """An engine that samples the model of this process."""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    """Its options."""
    benchmark: str = "custom"
    """Name of the prompts in manifests and results."""
    command: str = ""
    """The command line that asked for it, for results.json."""
    quiet: bool = False
    """No progress."""

    def __post_init__(self) -> None:
        check_level(self.level)
        for gate in (self.gate, self.excess_gate):
            if gate and gate.k > self.n:
                raise InputError(f"The gate's k = {gate.k} needs at least as many samples a prompt, but n = {self.n}.")
        if max(self.ks, default=1) > self.n:
            raise InputError(
                f"k = {max(self.ks)} needs at least {max(self.ks)} samples a prompt, but n = {self.n}: raise n or lower k."
            )


@dataclass(frozen=True)
class Rung:
    """One attack, or none, with its parts.

    parts: one, or one a fold; what is measured is `unseen` of each.
    probe: how it is asked, where an audit has asked in another way than the question stands.
    gives_answer: whether that way gives the answer away; what it shows is then not knowledge.
    audited: the audit that has drawn it already, where one has.
    """

    attack: Attack | None
    parts: tuple[Known, ...]
    probe: str = ""
    gives_answer: bool = False
    audited: Path | None = None

    @property
    def name(self) -> str:
        return self.probe or "none" if self.attack is None else self.attack.label

    @property
    def kind(self) -> str:
        """ "none", "probe", or the attack's kind."""
        return self.attack.facts.kind if self.attack else "probe" if self.probe else "none"

    def run(self, out: Path, number: int, role: Role) -> Path:
        """Where the samples of part `number` are."""
        if self.audited is None:
            return out / self.place(number) / role
        beside = self.audited / "reference" if role == "retrained" else self.audited
        return beside / place_of(self.probe) if self.probe else beside

    def unasked(self, out: Path, number: int, role: Role) -> Path:
        """The file that says that the attack found nothing to ask this model in part `number`."""
        return out / self.place(number) / f"{role}.{UNASKED}"

    def asked(self, out: Path, number: int, role: Role) -> bool:
        """Whether this model was asked anything in part `number`."""
        return self.audited is not None or not self.unasked(out, number, role).exists()

    def owner(self, id_: str) -> str:
        """The prompt that what was asked under this id asks for."""
        return owner_of(id_, self.probe) if self.probe else id_

    def place(self, number: int) -> Path:
        """Where part `number` lies under `out`."""
        folder = Path(re.sub(r"[^\w.=,-]+", "-", self.name))
        return folder / f"fold-{number + 1}" if len(self.parts) > 1 else folder


def rungs_of(
    attacks: Sequence[str | Attack], known: Known, settings: LadderSettings, audited: Path | None = None
) -> list[Rung]:
    """The rungs in their order, the first without an attack. InputError for one given twice, or that lacks what it needs.

    audited: an audit of the same model; its ways of asking are rungs too, and are not drawn again.
    """
    found = [one for spec in attacks for one in get_attack(spec).settings()[0]]
    labels = [one.label for one in found]
    if not found:
        raise InputError(
            "Give at least one attack, such as relearn:steps=50; the audit without one is `leakatk audit`."
        )
    if double := [label for label in labels if labels.count(label) > 1]:
        raise InputError(f"Attack {double[0]} is given twice; name each once.")
    whole = replace(known, seen=(), unseen=known.forget)
    rungs = [Rung(None, (whole,), audited=audited)]
    if audited is not None:
        asked = read_results(audited).probes or {}
        rungs += [Rung(None, (whole,), name, one.gives_answer, audited) for name, one in asked.items()]
    for one in found:
        one.check(known)
        parts = one.split(known, settings.seed, settings.folds) if one.fitted else [whole]
        rungs.append(Rung(one, tuple(parts)))
    return rungs


def left_out(attacks: Sequence[str | Attack]) -> list[str]:
    """What the budgets of sweeps leave out, as sentences."""
    return [sentence for spec in attacks for sentence in get_attack(spec).settings()[1]]


def check_audited(audited: Path, prompts: Sequence[Prompt], settings: LadderSettings, *, paired: bool) -> None:
    """InputError unless this audit asked these prompts in the same settings, and the retrained model where it counts."""
    run = Run.open(audited)
    manifest = run.manifest
    there = {
        "prompts": manifest.prompts_sha256 == prompts_hash(prompts),
        "decoding": manifest.decoding == settings.decoding.as_dict(),
        "seed": manifest.seed == settings.seed,
        "n": run.n >= settings.n,
    }
    if differing := [name for name, same in there.items() if not same]:
        raise InputError(
            f"The audit in {audited} has another {' and '.join(differing)}; audit again with those of the attacks."
        )
    if paired and not (audited / "reference" / "manifest.json").exists():
        raise InputError(
            f"The audit in {audited} has no samples of the retrained model beside it; audit with the same --retrained."
        )


def groups_of(rungs: Sequence[Rung]) -> list[list[Rung]]:
    """The rungs by trail, in the order of their first ones; one without a trail is alone."""
    groups: dict[object, list[Rung]] = {}
    for number, rung in enumerate(rungs):
        key = _trail_of(rung.attack)
        groups.setdefault(key or number, []).append(rung)
    return list(groups.values())


def _trail_of(attack: Attack | None) -> str:
    return attack.trail if isinstance(attack, Alter) else ""


@contextmanager
def trail_of(group: Sequence[Rung], out: Path) -> Iterator[Trail | None]:
    """The trail of rungs that share one; None for a rung alone. What it kept is gone afterwards."""
    stops = [rung.attack.point for rung in group if isinstance(rung.attack, Alter)]
    if len(stops) < 2:
        yield None
        return
    place = out / PLACE
    shutil.rmtree(place, ignore_errors=True)  # of a command that was killed
    try:
        yield Trail(place, stops)
    finally:
        shutil.rmtree(place, ignore_errors=True)
