"""Metric and its registry, and the numbers of one model on a benchmark.

@metric("surprise", values=("surprise",), needs=("holdout",), paper="ours")
def surprise(evidence, benchmark):
    return {"surprise": ...}
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError, UnknownNameError
from leakatk.metrics.evidence import Evidence as Evidence
from leakatk.metrics.evidence import MetricSettings as MetricSettings
from leakatk.metrics.evidence import Pairs as Pairs
from leakatk.metrics.evidence import Passes as Passes
from leakatk.metrics.evidence import Piece as Piece
from leakatk.prompts import Prompt
from leakatk.registry import Facts, Registry

Compute = Callable[[Evidence, Benchmark], Mapping[str, float]]
FURTHER = {
    "original": "the model before unlearning",
    "earlier": "the models before this one, in order: after each request or check",
    "alike": "models made like this one, with other seeds",
    "retrained": "models retrained like --retrained, with other seeds",
}
_COLUMNS = {field.name for field in fields(Prompt)}
_PARTS = {field.name for field in fields(Benchmark)}
_FURTHER = "auxiliary "
Counts = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Metric(Facts):
    """Numbers of one model on a benchmark, by name."""

    compute: Compute
    """(evidence, benchmark) -> name -> number. What it asks of the evidence may not depend on the values it gets."""
    values: tuple[str, ...] = ()
    """The names of its numbers; () where they depend on the benchmark."""
    needs: tuple[str, ...] = ()
    """What must be there, or its numbers are NaN: a part of the benchmark ("holdout", "sets.verbmem"), a column of every
    forget prompt ("perturbed_answers"), "retrained", or a further model ("auxiliary original": see `FURTHER`). "a|b" is one
    of the two."""

    @property
    def further(self) -> tuple[str, ...]:
        """The parts of the further models that it needs."""
        return tuple(need.removeprefix(_FURTHER) for need in self.needs if need.startswith(_FURTHER))

    def __post_init__(self) -> None:
        if strange := set(self.further) - set(FURTHER):
            raise ValueError(f"metric {self.name!r} needs further models of unknown part {strange}")
        for need in self.needs:
            for one in need.split("|"):
                if one.startswith(_FURTHER):
                    continue
                if one != "retrained" and one not in _COLUMNS and one.partition(".")[0] not in _PARTS:
                    raise ValueError(
                        f"metric {self.name!r} needs {one!r}: no part of a benchmark, no column of a prompt"
                    )


METRICS: Registry[Metric] = Registry("metric")


def metric(name: str, **facts: Any) -> Callable[[Compute], Compute]:
    """Register a function as a metric. facts: `values`, `needs`, and those of `Facts`."""

    def add(compute: Compute) -> Compute:
        METRICS.add(name, Metric(name=name, compute=compute, **facts))
        return compute

    return add


def lacking(metric: Metric, benchmark: Benchmark, *, compared: bool, counts: Counts | None = None) -> str:
    """What the metric needs and is not there; "" where nothing is.

    compared: there is a retrained model.  counts: the number of further models by part.
    """
    there = (any(_has(benchmark, one, compared, counts or {}) for one in need.split("|")) for need in metric.needs)
    return next((need for need, found in zip(metric.needs, there, strict=True) if not found), "")


def _has(benchmark: Benchmark, need: str, compared: bool, counts: Counts) -> bool:
    if need == "retrained":
        return compared
    if need.startswith(_FURTHER):
        return counts.get(need.removeprefix(_FURTHER), 0) > 0
    part, _, name = need.partition(".")
    if name:
        return bool(getattr(benchmark, part).get(name))
    if need in _PARTS:
        return bool(getattr(benchmark, need))
    return bool(benchmark.forget) and all(getattr(prompt, need) for prompt in benchmark.forget)


def names_of(benchmark: Benchmark, further: Sequence[str] = ()) -> tuple[str, ...]:
    """The benchmark's metrics and those named besides, each once. UnknownNameError for one that is not known."""
    names = tuple(dict.fromkeys((*benchmark.metrics, *further)))
    for name in names:
        METRICS[name]
    return names


def check_further(
    benchmark: Benchmark, further: Sequence[str], *, compared: bool, counts: Counts | None = None
) -> None:
    """InputError for a metric named by a person that lacks something, or a further model that no metric looks at."""
    for name in further:
        if lack := lacking(METRICS[name], benchmark, compared=compared, counts=counts):
            part = lack.removeprefix(_FURTHER)
            if lack == "retrained":
                raise InputError(
                    f"Metric {name} needs retrained, which {benchmark.name} lacks; give the retrained model (--retrained)."
                )
            if part != lack:
                raise InputError(f"Metric {name} needs {FURTHER[part]}; give each with --auxiliary {part}=MODEL.")
            raise InputError(
                f"Metric {name} needs {lack.replace('|', ' or ')}, which {benchmark.name} lacks; take another benchmark or metric."
            )
    looked_at = {part for name in names_of(benchmark, further) for part in METRICS[name].further}
    for part in counts or {}:
        if part not in FURTHER:
            raise UnknownNameError("part of a further model (--auxiliary PART=MODEL)", part, FURTHER)
        if part not in looked_at:
            users = [name for name in METRICS if part in METRICS[name].further]
            raise InputError(
                f"--auxiliary {part}: no metric that is computed looks at such a model; add --metric {' or '.join(users)}, or leave it out."
            )


def evaluate(
    evidence: Evidence,
    benchmark: Benchmark,
    *,
    metrics: Sequence[str] | None = None,
    compared: bool | None = None,
    counts: Counts | None = None,
) -> dict[str, float]:
    """Every number of these metrics (default: the benchmark's), NaN where what one needs is not there.

    compared: whether this model, or the next one, is compared with a retrained one, so that all that is asked of either is
    computed for both; default: where the evidence has one.  counts: the further models of the next one in the same way.
    All that is needed is computed first, in as few passes as it takes.
    """
    names = names_of(benchmark) if metrics is None else tuple(metrics)
    if not benchmark.forget:
        raise InputError(f"Benchmark {benchmark.name} has no forget prompts; there is nothing to evaluate.")
    evidence.get(wanted(evidence, benchmark, names, compared=compared, counts=counts))
    return _values(evidence, benchmark, names)


def wanted(
    evidence: Evidence,
    benchmark: Benchmark,
    metrics: Sequence[str],
    *,
    compared: bool | None = None,
    counts: Counts | None = None,
    others: bool = False,
) -> list[Piece]:
    """The pieces that `evaluate` computes; `Evidence.passes` says what they cost. others: those asked of other models alone."""
    both = evidence.retrained is not None if compared is None else compared
    return evidence.wanted(
        lambda stand_in: _values(stand_in, benchmark, metrics), compared=both, counts=counts, others=others
    )


def _values(evidence: Evidence, benchmark: Benchmark, names: Sequence[str]) -> dict[str, float]:
    values: dict[str, float] = {}
    counts = {part: len(models) for part, models in evidence.beside.items()}
    for name in names:
        one = METRICS[name]
        if lacking(one, benchmark, compared=evidence.retrained is not None, counts=counts):
            values |= dict.fromkeys(one.values, math.nan)
            continue
        found = one.compute(evidence, benchmark)
        if one.values and set(found) != set(one.values):
            raise ValueError(f"metric {name!r} says it gives {one.values} and gave {tuple(found)}")
        values |= found
    return values
