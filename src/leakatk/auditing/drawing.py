"""Drawing of an audit, all that models are asked: samples, greedy answers, exact probabilities, expansions.

It lands in one directory (samples in it, greedy answers in greedy/, retain answers in retain/, the retrained model's samples
in reference/, the same under each probe in probes/NAME/) and is taken from there where it is there already.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from leakatk.auditing.bounds import expansions
from leakatk.auditing.checking import Checked, Runs
from leakatk.auditing.sample import as_sampler, sample
from leakatk.auditing.verdict import Way
from leakatk.prompts import Prompt
from leakatk.runs.store import Run
from leakatk.sampling.base import Expansion, Sampler, Truth, notes_of, release
from leakatk.sampling.decoding import Decoding

T = TypeVar("T")


@dataclass(frozen=True)
class Drawn:
    """What was drawn for an audit."""

    ways: Sequence[Way]
    """The question as it stands first, then each way of `Checked.asked`."""
    retained: Run | None
    """Greedy answers to the retain prompts."""
    truths: Mapping[str, Truth]
    """Prompt id -> the true answer's tokens and log-probability; empty where the engine cannot tell."""
    trees: Mapping[str, Expansion]
    """Prompt id -> its answers, expanded."""
    retrained: Runs | None
    notes: Sequence[str]
    seconds: Mapping[str, float]
    """By what was done."""


def draw(checked: Checked, out: Path, *, quiet: bool = False) -> Drawn:
    """Ask the model, and then the retrained one, all that is not in `out` yet."""
    settings, sampler = checked.settings, checked.sampler
    drawing = _Drawing(checked, out, quiet, list(checked.notes))
    one = settings.decoding.as_greedy() if settings.greedy else settings.decoding
    ways = [drawing.way(Path(), checked.prompts)]
    retained = (
        drawing.run(sampler, Path("retain"), checked.retain, one, 1, "retain answers") if checked.retain else None
    )
    for asked in checked.asked:
        ways.append(drawing.way(asked.place, asked.prompts, asked.label, asked.owners))
    truths: Mapping[str, Truth] = {}
    if settings.exact:
        from leakatk.sampling.teacher_forcing import truths_of

        truths = drawing.timed("exact probabilities", lambda: truths_of(sampler, checked.prompts, settings.decoding))
    trees: Mapping[str, Expansion] = {}
    if settings.expand:
        trees = drawing.timed(
            "exact expansion",
            lambda: expansions(sampler, checked.prompts, settings.decoding, settings.expand, out=out, quiet=quiet),
        )
    drawing.notes += notes_of(sampler)
    release(sampler)  # the retrained model may need the same devices
    retrained = drawing.retrained()
    return Drawn(ways, retained, truths, trees, retrained, drawing.notes, drawing.seconds)


@dataclass
class _Drawing:
    checked: Checked
    out: Path
    quiet: bool
    notes: list[str]
    seconds: dict[str, float] = field(default_factory=dict)

    def timed(self, name: str, work: Callable[[], T]) -> T:
        start = time.perf_counter()
        found = work()
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return found

    def run(
        self,
        source: Sampler,
        where: Path,
        prompts: Sequence[Prompt],
        decoding: Decoding,
        n: int,
        name: str,
        probe: str = "",
    ) -> Run:
        settings = self.checked.settings
        run = self.timed(
            name,
            lambda: sample(
                source, prompts, n=n, decoding=decoding, seed=settings.seed, out=self.out / where,
                benchmark=settings.benchmark, protocol=settings.protocol, probe=probe,
                label=f"{name}, {probe}" if probe else name, quiet=self.quiet,
            ),
        )  # fmt: skip
        self.notes += run.notes
        return run

    def way(
        self, place: Path, prompts: Sequence[Prompt], probe: str = "", owners: Mapping[str, str] | None = None
    ) -> Way:
        settings, sampler = self.checked.settings, self.checked.sampler
        under = " under probes" if probe else ""
        run = self.run(sampler, place, prompts, settings.decoding, settings.n, f"sampling{under}", probe)
        greedy = None
        if settings.greedy:
            cold = settings.decoding.as_greedy()
            greedy = self.run(sampler, place / "greedy", prompts, cold, 1, f"greedy answers{under}", probe)
        return Way(probe, run, greedy, owners or {})

    def retrained(self) -> Runs | None:
        """The retrained model's samples, drawn in the same settings unless they were given."""
        given, settings = self.checked.retrained, self.checked.settings
        if given is None or isinstance(given, Runs):
            return given
        sampler, phase = as_sampler(given, settings.engine, **settings.engine_options), "sampling the reference"
        beside = Path("reference")
        plain = self.run(sampler, beside, self.checked.prompts, settings.decoding, settings.n, phase)
        probes = {
            one.label: self.run(
                sampler, beside / one.place, one.prompts, settings.decoding, settings.n, phase, one.label
            )
            for one in self.checked.asked
        }
        self.notes += [f"Retrained model: {note}" for note in notes_of(sampler)]
        release(sampler)
        return Runs(plain, probes)
