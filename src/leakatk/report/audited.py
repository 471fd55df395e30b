"""Audited run as the report reads it, and its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leakatk.errors import InputError, RunError
from leakatk.report.content import Number
from leakatk.runs.results import AuditResults, CurveResult, ScorerResult
from leakatk.runs.store import Run
from leakatk.text import weights_sentence


@dataclass(frozen=True, slots=True)
class Audited:
    """One audited run as read from disk."""

    run: Run
    results: AuditResults
    own: str = ""
    """The label that the audit was given; `label` may have been made longer to tell runs apart."""

    @property
    def label(self) -> str:
        return self.results.label

    @property
    def scorer(self) -> str:
        return next(iter(self.results.scorers))

    def probes(self) -> dict[str, Run]:
        """The run of each probe that the audit asked with."""
        found = {}
        for place in sorted(self.run.path.glob("probes/*/manifest.json")):
            run = Run.open(place.parent)
            if run.manifest.probe in (self.results.probes or {}):
                found[run.manifest.probe] = run
        return found


def read_audits(paths: Sequence[str | Path]) -> list[Audited]:
    """Open audited runs. InputError for a run that was sampled but never audited."""
    found = []
    for path in paths:
        run = Run.open(path)
        if not (Path(path) / "results.json").exists():
            raise InputError(
                f"{path} holds samples but no results; run `leakatk audit` with --out {path} to finish it."
            )
        kept = run.results()
        if not isinstance(kept, dict) or not {"label", "scorers", "decoding"} <= set(kept):
            raise RunError(
                f"{path}/results.json is not what an audit writes; run the same audit again: nothing is sampled twice."
            )
        if not run.n:
            raise RunError(f"{path} holds no samples; run the same audit again: what is missing is sampled.")
        results = AuditResults.from_dict(kept, f"{path}/results.json")
        found.append(Audited(run, results, own=results.label))
    for name in (_decoding, lambda audited: Path(audited.run.path).name):  # tell runs of one label apart
        labels = [audited.label for audited in found]
        if len(set(labels)) < len(labels) and len({name(one) for one in found}) > 1:
            found = [replace(one, results=replace(one.results, label=f"{one.label} ({name(one)})")) for one in found]
    return found


def _decoding(audited: Audited) -> str:
    return audited.results.decoding


def weights_note(audits: Sequence[Audited]) -> str:
    """A sentence with the hash of each model's weights, preceded by a blank; "" where no run has recorded it."""
    models = {audited.label: audited.run.manifest.model for audited in audits}
    said = weights_sentence(
        {
            label: " + ".join(str(model[key]) for key in ("weights_sha256", "base_weights_sha256") if key in model)
            for label, model in models.items()
        }
    )
    return f" {said}" if said else ""


def block_of(audited: Audited, scorer: str) -> ScorerResult:
    """All that was found under one scorer. InputError when the run was not scored with it."""
    if scorer not in audited.results.scorers:
        raise InputError(
            f"{audited.label} was not scored with {scorer}; audit it again with --scorer {scorer} (samples are reused)."
        )
    return audited.results.scorers[scorer]


def curve_of(audited: Audited, scorer: str, over: str) -> CurveResult:
    """leak@k with its interval. InputError when there is no interval of this kind."""
    curves = block_of(audited, scorer).curves
    if over not in curves:
        raise InputError(f"{audited.label} has one prompt, so no interval over {over}; use --over samples.")
    return curves[over]


def at(curve: CurveResult, k: int) -> Number | str:
    """The curve's number at k, with its interval; empty where it has none."""
    if k not in curve.k:
        return ""
    i = curve.k.index(k)
    return Number(curve.value[i], curve.low[i], curve.high[i])


def number(value: float | None) -> Number:
    """A cell; NaN (shown as a dash) for what is not known."""
    return Number(math.nan if value is None else value)
