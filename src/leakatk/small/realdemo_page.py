"""Report of the demo on a real model: the table of its models, what it shows and what it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leakatk.files.writing import read_kept, write_atomic
from leakatk.progress import format_bytes, format_seconds
from leakatk.report.assemble import content_of
from leakatk.report.audited import Audited, read_audits
from leakatk.report.content import Highlight, Number, ReportContent
from leakatk.report.html import render
from leakatk.report.rounds import rounds_table
from leakatk.small.demo import stops
from leakatk.small.realdemo_plan import BASES, LABELS, MODELS, RULE_BASE, Plan

NOTES = (
    "full and retrained were fine-tuned here from the same pre-trained model with the same settings; retrained never saw what is to "
    "be forgotten. leak@k is the expected worst of k sampled answers. The retain column asks what both know and no unlearner was "
    "shown.",
    "The intervals are over samples: what other samples of the same models on the same questions would give. They say nothing about "
    "other seeds, and this is one seed of few questions: look at the direction, not at the last digit.",
    "Every question was asked in one wording; a model that says nothing to it may answer another.",
    "RULE found its leaks with the same scorer and wording that this table is measured with, on other random samples. Compare it with "
    "the control, which took exactly as many steps without the leaks.",
    "A low number can also mean broken text: read the samples and the retain column.",
)


def write_page(out: Path, plan: Plan, seed: int, spent: Mapping[str, Any]) -> Path:
    """out/report.html."""
    page = out / "report.html"
    write_atomic(page, render(content(out, plan, seed, spent)))
    return page


def audits_of(out: Path) -> list[Audited]:
    """The audited runs, in the order of the table."""
    return read_audits([out / "runs" / name for name in MODELS])


def content(out: Path, plan: Plan, seed: int, spent: Mapping[str, Any]) -> ReportContent:
    """What the page says."""
    audits, k = audits_of(out), plan.scale.samples
    hints = {
        RULE_BASE: f"one greedy answer: {_block(audits, RULE_BASE)['greedy']:.1%}",
        "rule": "what leaked was found by sampling and unlearned too",
        "control": "as many more steps, nothing found or added",
        "retrained": "never saw the answers: the yardstick",
    }
    table = rounds_table(out / "rounds" / "rule" / "rounds.json", LABELS["rule"], k=plan.scale.round_samples)
    return content_of(
        audits,
        title="Greedy says forgotten. Does sampling agree, on a real model?",
        verdict=verdict(audits, k),
        highlights=tuple(
            Highlight(f"{LABELS[name]}: leak@{k}", at_last(audits, name), hint) for name, hint in hints.items()
        ),
        notes=(taught(out, plan, seed), stops(out, BASES, LABELS, "90%"), *NOTES, took(spent)),
        rounds=[table] if table else [],
        command="leakatk demo --real",
        cost=tuple(spent["seconds"].items()),
    )


def taught(out: Path, plan: Plan, seed: int) -> str:
    """What was taught, and how well it was learned."""
    bench = plan.lessons(seed).benchmark
    kept = len(bench.retain) + len(bench.retain_held)
    what = (
        f"TOFU's last {plan.scale.authors} authors"
        if plan.source == "tofu"
        else "invented people (TOFU's files were not at hand)"
    )
    parts = []
    for name in ("full", "retrained"):
        found = read_kept(out / "models" / "recall" / f"{name}.json")["sets"]
        shares = {
            part: f"{sum(one['score'] is not None and one['score'] > 0.999 for one in row['answers'])} of {len(row['answers'])}"
            for part, row in found.items()
        }
        parts.append(f"{name} {shares['forget']} of the forget and {shares['retain']} of the retain answers")
    return f"{plan.model} was taught {what}: {len(bench.forget)} answers to forget, {kept} to keep. Greedily it then knew: {'; '.join(parts)}."


def took(spent: Mapping[str, Any]) -> str:
    """Time and memory."""
    return (
        f"In all {format_seconds(spent['wall'])}, of which the jobs took {format_seconds(sum(spent['seconds'].values()))} one after the "
        f"other. Memory in use at most: {format_bytes(spent['one'])} in one process, {format_bytes(spent['together'])} in all at a moment."
    )


def at_last(audits: Sequence[Audited], name: str) -> Number:
    """leak@k of one model at the largest k, with its interval over samples."""
    curve = _block(audits, name)["curves"]["samples"]
    return Number(curve["value"][-1], curve["low"][-1], curve["high"][-1])


def verdict(audits: Sequence[Audited], k: int) -> str:
    """What the greedy answers and the samples of the base method say, beside RULE, its control and the yardstick."""

    def share(name: str) -> str:
        number = at_last(audits, name)
        return f"{number.value:.1%} ({number.low:.1%} to {number.high:.1%})"

    return (
        f"{LABELS[RULE_BASE]}: one greedy answer reveals {_block(audits, RULE_BASE)['greedy']:.1%} of what was to be forgotten, {k} samples "
        f"{share(RULE_BASE)}; after RULE {share('rule')}, after as many steps without it {share('control')}; the model that never saw "
        f"it {share('retrained')}."
    )


def _block(audits: Sequence[Audited], name: str) -> dict[str, Any]:
    """The headline scorer's numbers of one model."""
    scorers = audits[MODELS.index(name)].results.scorers
    found: dict[str, Any] = scorers[next(iter(scorers))].as_dict()
    return found
