"""Headline of a report: one sentence with its numbers, and every condition that they hold for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from leakatk.probes import get_probe
from leakatk.report.audited import Audited, block_of, curve_of
from leakatk.runs.answers import told
from leakatk.runs.results import AuditResults, CurveResult, ScorerResult
from leakatk.text import percent

Results = AuditResults | Mapping[str, Any]
TOLD = 4  # so many models are told with their intervals


def typed(results: Results) -> AuditResults:
    """The results of an audit, from what `audit` returned too."""
    return results if isinstance(results, AuditResults) else AuditResults.from_dict(results)


def scored_of(results: AuditResults, block: ScorerResult) -> int:
    """How many prompts a scorer scored, in results of former versions too."""
    return results.m - len(block.undefined) if block.m is None else block.m


def headline_k(audits: Sequence[Audited]) -> int:
    """The k that all numbers of a page are told at: the gate's where there is one, else the largest that all runs have."""
    shared = set.intersection(*(set(curve_of(one, audits[0].scorer, "samples").k) for one in audits))
    asked = [int(one.results.gate.k) for one in audits if one.results.gate]
    wanted = [k for k in asked if k in shared]
    return wanted[0] if wanted else int(max(shared))


def headline(results: Results, *, k: int | None = None, decodings: Sequence[AuditResults] = ()) -> str:
    """What one audited model leaks, at the gate's k or the largest, with the setting that leaks most in the same sentence.

    decodings: results of the same model at other decodings.
    """
    results = typed(results)
    name, block = next(iter(results.scorers.items()))
    curve = block.curves["samples"]
    k = k or (results.gate.k if results.gate else curve.k[-1])
    value, low, high = _at(curve, k)
    asked, scored = results.m, scored_of(results, block)
    which = (
        f"{asked} forget prompts" if scored == asked else f"the {scored} of {asked} forget prompts that {name} scores"
    )
    text = (
        f"{results.label} leaks {percent(value)} of {which} within {k} {_samples(k)} "
        f"({results.level:.0%} interval {percent(low)} to {percent(high)}, {results.decoding}, {results.n} samples "
        f"each, scorer {name}{_parts(block)})"
    )
    greedy = 0.0 if math.isnan(block.greedy) else block.greedy
    if not math.isnan(block.greedy):
        text += f"; greedy shows {percent(greedy)}"
    if (most := most_leaking(results, k, decodings)) and most[1] > max(value, greedy):
        text += f"; most {most[0]}: {percent(most[1])}"
    if block.retrained is not None:
        text += _retrained(curve, block.retrained.curves["samples"], k)
    worst = results.worst
    if worst and k in worst.scorers[name].curves["samples"].k:
        value, low, high = _at(worst.scorers[name].curves["samples"], k)
        text += (
            f"; asked in {worst.ways:.3g} ways, {k} {_samples(k)} each, "
            f"{percent(value)} ({percent(low)} to {percent(high)})"
        )
    if not_whole := told(results.answers, results.max_new_tokens or 0) if results.answers else "":
        text += f"; {not_whole}"
    if refused := false_refusals(results):
        text += f"; {refused}"
    if only := held_for(results):
        text += f"; {only}"
    return f"{text}."


def false_refusals(results: AuditResults) -> str:
    """What a guard flagged of the prompts that must be answered; "" without a guard."""
    if results.guard is None:
        return ""
    told = [
        f"{percent(group.value)} of {group.m} {'retain prompts' if name == 'retain' else name} "
        f"({percent(group.low)} to {percent(group.high)})"
        for name, group in results.guard.groups.items()
        if name in ("retain", "neighbours")
    ]
    if not told:
        return f"what guard {results.guard.name} flags of prompts that must be answered is unknown (give --retain)"
    return f"guard {results.guard.name} flags {' and '.join(told)}"


def held_for(results: AuditResults) -> str:
    """The wordings a number holds for; "" for a run of a version that did not count them."""
    counted = results.wordings
    if counted is None:
        return ""
    if not counted["several"]:
        return "asked in one wording only"
    return "" if not counted["one"] else f"{counted['one']} prompts asked in one wording only"


def most_leaking(results: AuditResults, k: int, decodings: Sequence[AuditResults] = ()) -> tuple[str, float] | None:
    """(where, leak) of the way of asking, decoding or part of the answer that leaks most beside the setting asked for."""
    scorer = next(iter(results.scorers))
    found: list[tuple[str, float]] = []
    for other in decodings:
        if scorer in other.scorers:
            found += _leaks(f"at {other.decoding}", other.scorers[scorer], k)
    if results.reasoning:
        found += _leaks("in the reasoning", results.reasoning.scorers[scorer], k)
    for label, probe in (results.probes or {}).items():
        if not get_probe(label).gives_answer:
            block = probe.scorers[scorer]
            found += _leaks(f"under probe {label}", block, k)
            if not math.isnan(block.greedy):
                found.append((f"under probe {label}, greedy", block.greedy))
    return max(found, key=lambda one: one[1], default=None)


def _leaks(name: str, block: ScorerResult, k: int) -> list[tuple[str, float]]:
    curve = block.curves["samples"]
    return [(name, _at(curve, k)[0])] if k in curve.k else []


def _parts(block: ScorerResult) -> str:
    """By which scorers the prompts are scored, where these are several: ": 28 by keys, 12 by meaning"."""
    counted = block.parts or {}
    return ": " + ", ".join(f"{count} by {part}" for part, count in counted.items()) if len(counted) > 1 else ""


def _retrained(mine: CurveResult, theirs: CurveResult, k: int) -> str:
    """The retrained model at the same k; where it has fewer samples, both at the largest k it has."""
    if k in theirs.k:
        value, low, high = _at(theirs, k)
        return f"; the retrained model {percent(value)} ({percent(low)} to {percent(high)})"
    shared = max(theirs.k)
    value, low, high = _at(theirs, shared)
    return (
        f"; at k = {shared}, the largest that the retrained model has samples for, {percent(_at(mine, shared)[0])} against its "
        f"{percent(value)} ({percent(low)} to {percent(high)})"
    )


def _at(curve: CurveResult, k: int) -> tuple[float, float, float]:
    i = curve.k.index(k)
    return float(curve.value[i]), float(curve.low[i]), float(curve.high[i])


def _samples(k: int) -> str:
    return "sample" if k == 1 else "samples"


def comparison(audits: Sequence[Audited], over: str, k: int) -> str:
    """Several models in one sentence, all of them, at one k; with their intervals where they are few."""
    scorer, level = audits[0].scorer, audits[0].results.level
    few = len(audits) <= TOLD
    said: list[str] = []
    for audited in audits:
        value, low, high = _at(curve_of(audited, scorer, over), k)
        greedy = block_of(audited, scorer).greedy
        within = [f"{percent(low)} to {percent(high)}"] if few else []
        within += [f"greedy {percent(greedy)}"] if few and not math.isnan(greedy) else []
        if not said and few:
            within[0] = f"{level:.0%} interval {within[0]}"
        beside = f" ({', '.join(within)})" if within else ""
        what = (
            f" leaks {percent(value)} of the forget prompts within {k} {_samples(k)}"
            if not said
            else f" {percent(value)}"
        )
        said.append(f"{audited.label}{what}{beside}")
    return "; ".join(said) + f". {conditions(audits, scorer, over)}"


def conditions(audits: Sequence[Audited], scorer: str, over: str) -> str:
    """What the numbers under one scorer hold for: prompts scored, samples, decoding, level, answers that are no whole ones."""
    blocks = [(audited.results, block_of(audited, scorer)) for audited in audits]
    scored = [scored_of(results, block) for results, block in blocks]
    left_out = max(results.m - m for (results, _), m in zip(blocks, scored, strict=True))
    text = f"Scorer {scorer}; {_range(scored)} prompts x {_range([results.n for results, _ in blocks])} samples; "
    text += f"{' or '.join(dict.fromkeys(results.decoding for results, _ in blocks))}; "
    text += f"{blocks[0][0].level:.0%} intervals over {over}."
    text += "".join(f" {said}" for said in dict.fromkeys(block.scored_by for _, block in blocks) if said)
    if left_out:
        text += f" {left_out} further prompts have no score from {scorer} and are in no number here."
    missing = sum(int(block.missing) for _, block in blocks)
    if missing:
        text += f" {missing:,} answers have no score and are left out."
    for results, _ in blocks:
        if results.answers and (said := told(results.answers, results.max_new_tokens or 0)):
            text += f" {results.label}: {said}." if len(blocks) > 1 else f" {said[0].upper()}{said[1:]}."
    return text


def _range(values: Sequence[int]) -> str:
    return f"{min(values):,}" if min(values) == max(values) else f"{min(values):,} to {max(values):,}"


def gate_line(results: Results) -> str:
    """Why a gate answers as it does, and what that holds for; "" without a gate."""
    results = typed(results)
    return f"{results.gate.reason}; {holds(results)}." if results.gate else ""


def holds(results: Results) -> str:
    """What a verdict speaks of: the settings it looked at, and whether one wording alone was asked."""
    results = typed(results)
    settings = ", ".join(one.name for one in results.gate.settings) if results.gate else ""
    only = held_for(results)
    return f"it holds for {settings}" + (f"; {only}" if only else "")
