"""Summary of an audit's samples: scores, leak@k with intervals, the excess over the retrained model, the verdict."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from leakatk.auditing.asking import Probed, ways
from leakatk.auditing.bounds import exact_result
from leakatk.auditing.checking import Checked
from leakatk.auditing.drawing import Drawn
from leakatk.auditing.flagged import flagged
from leakatk.auditing.scorer_results import beyond, scorer_result, worst_result
from leakatk.auditing.verdict import Way, judge, settings_of
from leakatk.estimate.curves import ExcessCurve, LeakCurve
from leakatk.prompts import Prompt
from leakatk.runs.answers import answer_counts, limit_is_own, warnings
from leakatk.runs.results import AuditResults, CurveResult, ProbeResult, ReasoningResult, ScorerResult, WorstResult
from leakatk.runs.store import Run
from leakatk.runs.verdicts import together


def summarise(checked: Checked, drawn: Drawn, *, command: str = "") -> AuditResults:
    """The results of an audit. Needs the samples alone, but for a scorer that asks a judge. command: as it was typed."""
    start, settings = time.perf_counter(), checked.settings
    plain, *others = drawn.ways
    asked, names = checked.asked, checked.scorers
    most, notes = settings.decoding.max_new_tokens, list(drawn.notes)
    counts = answer_counts(plain.run)
    if not limit_is_own(plain.run):
        notes += warnings(counts, most)
    if drawn.retrained is not None and (said := _short(drawn.retrained.plain, settings.all_ks)):
        notes.append(said)
    model = checked.sampler.describe().get("model", checked.sampler.name)
    results = AuditResults(
        label=settings.label or Path(str(model)).name,
        role=settings.role,
        command=command,
        benchmark=settings.benchmark,
        protocol=settings.protocol,
        decoding=settings.decoding.label,
        max_new_tokens=most,
        m=len(checked.prompts),
        n=settings.n,
        level=settings.level,
        answers=counts,
        wordings=wordings(asked, checked.prompts),
        scorers={shown: _scorer(name, checked, drawn) for shown, name in names.items()},
    )
    probes: dict[str, ProbeResult] = {}
    for one, way in zip(asked, others, strict=True):
        probes[one.label] = found = _probe(one, way, checked, drawn)
        if not limit_is_own(way.run):
            notes += warnings(found.answers or {}, most, where=f" under probe {one.label}")
    results = replace(
        results,
        probes=probes or None,
        reasoning=_reasoning(plain, names, checked) if counts["with_reasoning"] else None,
        worst=_worst(checked, drawn) if asked else None,
    )
    seconds = {**drawn.seconds, "scoring and estimating": time.perf_counter() - start}
    self_check, sentence = _self_check(checked, drawn)
    gate = None
    if settings.gate is not None:
        looked_at = settings_of(drawn.ways, settings.scorers[0], settings.gate, settings.decoding.label)
        gate = judge(looked_at, settings.gate)
    return replace(
        results,
        retrained=None if drawn.retrained is None else _named(drawn.retrained.plain),
        exact=exact_result([drawn.truths[p.id] for p in checked.prompts], checked.prompts) if drawn.truths else None,
        self_check=self_check,
        expansion={"budget": settings.expand, "prefixes": sum(tree.prefixes for tree in drawn.trees.values())}
        if drawn.trees
        else None,
        gate=gate,
        verdict=together([gate]) if gate else None,
        guard=flagged(checked),
        notes=list(dict.fromkeys([*notes, *sentence])),
        seconds={key: round(value, 3) for key, value in seconds.items()},
    )


def alone(results: AuditResults, probe: str) -> AuditResults:
    """The results of one way of asking: its directory is an audited run too, which `leakatk report` can tell in full."""
    assert results.probes is not None
    found = results.probes[probe]
    return AuditResults(
        label=f"{results.label}, {probe}",
        role=results.role,
        command=results.command,
        benchmark=results.benchmark,
        protocol=results.protocol,
        decoding=results.decoding,
        max_new_tokens=results.max_new_tokens,
        m=found.m,
        n=results.n,
        level=results.level,
        scorers=found.scorers,
    )


def wordings(asked: Sequence[Probed], prompts: Sequence[Prompt]) -> dict[str, int]:
    """How many prompts were asked in one wording only, and how many in others too."""
    others = {owner for one in asked if one.probe.name == "paraphrase" for owner in one.variants}
    return {"one": len(prompts) - len(others), "several": len(others)}


def curve_dict(curve: LeakCurve | ExcessCurve) -> dict[str, Any]:
    """k, value, low and high as plain lists."""
    return CurveResult.of(curve).as_dict()


def _scorer(name: str, checked: Checked, drawn: Drawn) -> ScorerResult:
    settings, plain = checked.settings, drawn.ways[0]
    theirs = drawn.retrained.plain if drawn.retrained else None
    found = scorer_result(name, plain.run, plain.greedy, drawn.retained, theirs, settings.all_ks, level=settings.level)
    bounds, forecast = beyond(name, plain.run, drawn.truths, drawn.trees, level=settings.level)
    return replace(found, bounds=bounds, forecast=forecast)


def _probe(one: Probed, way: Way, checked: Checked, drawn: Drawn) -> ProbeResult:
    settings = checked.settings
    theirs = drawn.retrained.probes.get(one.label) if drawn.retrained else None
    scorers = {
        shown: scorer_result(
            name, way.run, way.greedy, None, theirs, settings.all_ks, level=settings.level, owners=one.owners
        )
        for shown, name in checked.scorers.items()
    }
    return ProbeResult(
        m=len(one.prompts),
        left_out=[prompt.id for prompt in checked.prompts if prompt.id not in one.variants],
        gives_answer=one.probe.gives_answer,
        answers=answer_counts(way.run),
        scorers=scorers,
    )


def _reasoning(plain: Way, names: Mapping[str, str], checked: Checked) -> ReasoningResult:
    settings = checked.settings
    return ReasoningResult(
        scorers={
            shown: scorer_result(
                name, plain.run, plain.greedy, None, None, settings.all_ks, level=settings.level, part="reasoning"
            )
            for shown, name in names.items()
        }
    )


def _worst(checked: Checked, drawn: Drawn) -> WorstResult:
    settings, asked = checked.settings, checked.asked
    plain, *others = drawn.ways
    mine = (plain.run, {way.name: way.run for way in others})
    theirs = None
    if drawn.retrained and len(drawn.retrained.probes) == len(asked):
        theirs = (drawn.retrained.plain, drawn.retrained.probes)
    return WorstResult(
        ways=ways(asked, checked.prompts),
        scorers={
            shown: worst_result(name, asked, mine, theirs, settings.all_ks, level=settings.level)
            for shown, name in checked.scorers.items()
        },
    )


def _self_check(checked: Checked, drawn: Drawn) -> tuple[dict[str, Any] | None, list[str]]:
    """Whether the samples agree with the exact probabilities, and a sentence where they do not."""
    if not drawn.truths:
        return None, []
    from leakatk.sampling.teacher_forcing import self_check

    run = drawn.ways[0].run
    found = self_check(checked.sampler, checked.prompts, run.generations(), drawn.truths, checked.settings.decoding)
    return (None, []) if found is None else (found.block(), [found.sentence] if found.sentence else [])


def _short(retrained: Run, ks: Sequence[int]) -> str:
    """What a run of too few samples leaves out, in words; "" for one that has enough."""
    if retrained.n >= max(ks):
        return ""
    usable = [k for k in ks if k <= retrained.n]
    ends = f"the excess ends at k = {max(usable)}" if usable else "there is no excess at these k"
    return f"The retrained model's run has {retrained.n} samples a prompt, so {ends}."


def _named(run: Run) -> dict[str, str]:
    return {key: str(run.manifest.model.get(key, "")) for key in ("model", "fingerprint")}
