"""Decodings compared, of one model: which runs belong together, and the heat map of leak@k over temperature and top-p."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, TypeVar

from leakatk.report.content import Grid
from leakatk.runs.results import AuditResults
from leakatk.runs.store import Run


class Measured(Protocol):
    """An audited run."""

    @property
    def run(self) -> Run: ...

    @property
    def results(self) -> AuditResults: ...


M = TypeVar("M", bound=Measured)


def by_model(audits: Sequence[M]) -> list[list[M]]:
    """The runs of each model on the same prompts, in the order given."""
    groups: dict[tuple[str, str], list[M]] = {}
    for audited in audits:
        manifest = audited.run.manifest
        weights = str(manifest.model.get("fingerprint", audited.results.label))
        groups.setdefault((weights, manifest.prompts_sha256), []).append(audited)
    return list(groups.values())


def point(audited: Measured) -> tuple[float, float]:
    """(temperature, top-p): where a run stands in the grid. Greedy is (0, 0) whatever its top-p."""
    decoding = audited.run.manifest.decoding
    temperature = float(decoding["temperature"])
    return (temperature, float(decoding["top_p"])) if temperature else (0.0, 0.0)


def most_open(audits: Sequence[M]) -> list[M]:
    """Of each model the runs at its most open decoding (highest temperature, then top-p), in the order given."""
    kept = [run for runs in by_model(audits) for run in runs if point(run) == max(map(point, runs))]
    return [run for run in audits if any(run is one for one in kept)]


def decoding_grids(audits: Sequence[Measured], scorer: str, k: int) -> tuple[Grid, ...]:
    """One heat map for each model that was sampled at two settings or more; NaN where it was not."""
    grids = []
    for runs in by_model(audits):
        values: dict[tuple[float, float], float] = {}
        for audited in runs:
            found = audited.results.scorers.get(scorer)
            curve = found.curves["samples"] if found else None
            if curve and k in curve.k:
                values.setdefault(point(audited), float(curve.value[curve.k.index(k)]))
        if len(values) < 2:
            continue
        temperatures, tops = (sorted({at[i] for at in values}) for i in (0, 1))
        grids.append(
            Grid(
                title=f"{most_open(runs)[0].results.label}: leak@{k} by decoding",
                row_name="temperature",
                rows=tuple(f"{t:g}" if t else "0 (greedy)" for t in temperatures),
                column_name="top-p",
                columns=tuple(f"{p:g}" if p else "–" for p in tops),
                values=tuple(tuple(values.get((t, p), math.nan) for p in tops) for t in temperatures),
                caption=f"Scorer {scorer}. The headline setting is one of these; – was not sampled.",
            )
        )
    return tuple(grids)
