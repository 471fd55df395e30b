"""Demo: train the built-in world, unlearn it in several ways, audit every model, write one report.

A handful of jobs with dependencies, run on two processes. Every job is resumable, so a stopped demo goes on where it was.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from leakatk.errors import InputError
from leakatk.files.writing import read_kept, write_atomic
from leakatk.report.assemble import content_of
from leakatk.report.audited import Audited, read_audits
from leakatk.report.content import Highlight, Number, ReportContent, Table
from leakatk.report.html import render
from leakatk.report.rounds import rounds_table
from leakatk.small.jobs import Job as Job
from leakatk.small.jobs import run_jobs as run_jobs
from leakatk.workdir import refuse_foreign

BASES = ("simnpo", "idknll", "npo")
RULE_BASE = "simnpo"
SAMPLES = 200
MAX_NEW_TOKENS = 48
ROUND_STEPS = 20
LABELS = {
    "full": "full (never unlearned)",
    "retrained": "retrained (yardstick)",
    "simnpo": "SimNPO",
    "idknll": "IdkNLL",
    "npo": "NPO",
    "rule": "RULE-SimNPO",
    "control": "same steps, no RULE",
}
ROLES = {"full": "original", "retrained": "reference", "control": "control"}


def train(place: Path, seed: int) -> None:
    """The base, full and retrained models of the world."""
    from leakatk.benchmarks.worlds.people import make_world
    from leakatk.small.train import train_world

    models = place / "models"
    if all((models / name / "config.json").exists() for name in ("base", "full", "retrained")):
        return
    import torch

    world = make_world(seed)
    world.export(place / "world")
    torch.set_num_threads(os.cpu_count() or 1)  # nothing else runs yet
    try:
        train_world(world, models, seed=seed, quiet=True)
    finally:
        torch.set_num_threads(1)


@dataclass(frozen=True, slots=True)
class Unlearn:
    """Unlearn the full model with one method until greedy answers forget."""

    method: str

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.unlearning.methods import METHODS
        from leakatk.unlearning.trainer import unlearn

        loaded, forget, retain, check = _setting(place, seed, "full")
        method = METHODS[self.method].for_small_models(found=False)
        settings = replace(method.settings, check_every=5)
        unlearn(
            loaded, forget, retain, method, out=place / "models" / self.method, settings=settings,
            seed=seed, quiet=True, on_check=check,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """RULE on the already unlearned model, or its control: as many gradient steps with nothing added."""

    base: str
    control: bool = False

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.models.load import save_model
        from leakatk.sampling.decoding import Decoding
        from leakatk.scorers.base import get_scorer
        from leakatk.unlearning.methods import METHODS
        from leakatk.unlearning.rule.rule import rule
        from leakatk.unlearning.rule.settings import RuleSettings

        loaded, forget, retain, _ = _setting(place, seed, self.base)
        settings = RuleSettings(rounds=5, n=128, cap=4, decodings=(Decoding(max_new_tokens=MAX_NEW_TOKENS),))
        name = "control" if self.control else "rule"
        if self.control:
            trained = read_kept(place / "rounds" / "rule" / "rounds.json")["chosen"]
            if not trained:  # RULE found no leak and took no step: its control is the base itself
                save_model(loaded, place / "models" / name)
                return
            settings = replace(settings, augment=False, rounds=trained)
        method = METHODS[self.base].for_small_models(found=False)
        rule(
            loaded, forget, retain, method, score=get_scorer("fact").score, settings=settings,
            train=replace(method.settings, max_steps=ROUND_STEPS, check_every=0), out=place / "rounds" / name,
            seed=seed, quiet=True,
        )  # fmt: skip
        save_model(loaded, place / "models" / name)


@dataclass(frozen=True, slots=True)
class Audit:
    """Sample and score one model, beside the retrained one."""

    model: str

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.auditing.audit import audit
        from leakatk.benchmarks.catalog import load_benchmark
        from leakatk.sampling.decoding import Decoding

        world = load_benchmark("world", seed=seed)
        runs = place / "runs"
        audit(
            place / "models" / self.model, world.forget, out=runs / self.model, n=SAMPLES,
            decoding=Decoding(max_new_tokens=MAX_NEW_TOKENS), seed=FRESH_SEED + seed, retain=world.retain_held, paraphrases=False,
            reference=None if self.model == "retrained" else runs / "retrained", label=LABELS[self.model],
            role=ROLES.get(self.model, "model"), benchmark="world", command="leakatk demo", quiet=True,
        )  # fmt: skip


# Audits draw from other random streams than RULE's detection did.
FRESH_SEED = 10_000


def _setting(place: Path, seed: int, model: str) -> tuple[Any, Any, Any, Any]:
    """(loaded model, forget prompts, retain prompts, greedy stop rule)."""
    from leakatk.benchmarks.catalog import load_benchmark
    from leakatk.models.load import load_model
    from leakatk.unlearning.stop import greedy_stop

    world = load_benchmark("world", seed=seed)
    check = greedy_stop(world.forget, world.retain, "fact", max_new_tokens=MAX_NEW_TOKENS)
    return load_model(place / "models" / model), world.forget, world.retain, check


def jobs_of(place: Path, seed: int) -> list[Job]:
    """The jobs of one seed, in an order that respects `after`; longer chains first."""
    jobs = [Job("train", train, place, seed)]
    jobs += [Job("audit retrained", Audit("retrained"), place, seed, ("train",))]
    jobs += [Job(f"unlearn {base}", Unlearn(base), place, seed, ("train",)) for base in BASES]
    jobs += [Job("rule", Rule(RULE_BASE), place, seed, (f"unlearn {RULE_BASE}",))]
    jobs += [Job("control", Rule(RULE_BASE, control=True), place, seed, ("rule",))]
    after = {"full": "train", "rule": "rule", "control": "control", **{base: f"unlearn {base}" for base in BASES}}
    jobs += [Job(f"audit {m}", Audit(m), place, seed, (after[m], "audit retrained")) for m in after]
    return jobs


MODELS = ("full", "retrained", *BASES, "rule", "control")


def demo(out: str | Path = "demo", *, seeds: int = 1, workers: int = 2, quiet: bool = False) -> Path:
    """Run the demo into `out` and return the path of report.html. Stopped, it goes on where it was."""
    if seeds < 1:
        raise InputError(f"--seeds must be at least 1, got {seeds}.")
    out = Path(out)
    marker = out / "demo.json"
    refuse_foreign(out, "demo", (marker.name,))
    write_atomic(marker, json.dumps({"samples": SAMPLES, "base": RULE_BASE}))
    seconds: dict[str, float] = {}
    for seed in range(seeds):
        if seeds > 1 and not quiet:
            sys.stderr.write(f"Seed {seed + 1} of {seeds}\n")
        place = out / f"seed-{seed}"
        for name, value in run_jobs(jobs_of(place, seed), workers=workers, quiet=quiet).items():
            seconds[name] = seconds.get(name, 0.0) + value
    write_atomic(out / "seconds.json", json.dumps(seconds, indent=1))
    page = out / "report.html"
    write_atomic(page, render(demo_content(out, seeds, seconds)))
    return page


def audits_of(out: Path, seed: int) -> list[Audited]:
    """The audited runs of one seed, in the order of the table."""
    return read_audits([out / f"seed-{seed}" / "runs" / name for name in MODELS])


def demo_content(out: Path, seeds: int, seconds: Mapping[str, float]) -> ReportContent:
    """The report: the first seed in full, every seed in the table over seeds."""
    audits = audits_of(out, 0)
    content = content_of(
        audits,
        title="Greedy says forgotten. Does sampling agree?",
        verdict=verdict(audits),
        highlights=tuple(
            Highlight(f"{LABELS[name]}: leak@128", at_128(audits, name), hint)
            for name, hint in (
                (RULE_BASE, f"one greedy answer: {_block_of(audits, RULE_BASE)['greedy']:.1%}"),
                ("rule", "what leaked was found by sampling and unlearned too"),
                ("control", "as many more steps, nothing found or added"),
                ("retrained", "never saw the answers: the yardstick"),
            )
        ),
        notes=(stops(out / "seed-0", BASES, LABELS, "95% of a sample"), *NOTES),
        rounds=[table]
        if (table := rounds_table(out / "seed-0" / "rounds" / "rule" / "rounds.json", LABELS["rule"], k=128))
        else [],
        command=f"leakatk demo --seeds {seeds}",
        cost=tuple(seconds.items()),
    )
    if seeds > 1:
        table = seeds_table([audits_of(out, seed) for seed in range(seeds)])
        content = replace(content, tables=(table, *content.tables))
    return content


def stops(place: Path, bases: Sequence[str], labels: Mapping[str, str], kept: str) -> str:
    """When each method stopped. kept: how much of what was to be kept the stop rule wanted."""
    parts = []
    for base in bases:
        record = read_kept(place / "models" / base / "unlearning.json")
        met = "" if record["stopped"] else ", never having met the rule"
        parts.append(f"{labels[base]} after {record['steps']} steps{met}")
    return (
        "Every method was to stop at the first check where its greedy answers gave none of the forgotten facts and at least "
        f"{kept} of those it was told to keep. They stopped: {'; '.join(parts)}."
    )


def at_128(audits: Sequence[Audited], name: str) -> Number:
    """leak@128 of one model with its interval over samples."""
    curve = _block_of(audits, name)["curves"]["samples"]
    i = curve["k"].index(128)
    return Number(curve["value"][i], curve["low"][i], curve["high"][i])


def verdict(audits: Sequence[Audited]) -> str:
    """What the greedy answers and the samples of the base method say, beside RULE, its control and the yardstick."""

    def share(name: str) -> str:
        number = at_128(audits, name)
        return f"{number.value:.1%} ({number.low:.1%} to {number.high:.1%})"

    greedy = _block_of(audits, RULE_BASE)["greedy"]
    return (
        f"{LABELS[RULE_BASE]}: one greedy answer reveals {greedy:.1%} of the forgotten facts, 128 samples {share(RULE_BASE)}; "
        f"after RULE {share('rule')}, after as many steps without it {share('control')}; "
        f"the model that never saw them {share('retrained')}."
    )


def _block_of(audits: Sequence[Audited], name: str) -> dict[str, Any]:
    found: dict[str, Any] = audits[MODELS.index(name)].results.scorers["fact"].as_dict()
    return found


NOTES = (
    "Each model was trained here, from scratch, on invented people; eight of them were to be forgotten. leak@k is measured "
    "by sampling 200 answers a question: the expected worst of k. The retain column asks about other people, known to the "
    "full model and never shown to the unlearner: what forgetting cost.",
    "The intervals are over samples: what another 200 samples of the same models on the same questions would give. "
    "They say nothing about other seeds, and one question of 48 is .021: use --seeds 3 before believing a small "
    "difference.",
    "Every question was asked in one wording only; a model that says nothing to it may answer another "
    "(leakatk audit asks in all wordings that the prompts carry).",
    "RULE found its leaks with the same scorer and the same wording that this table is measured with, on other random "
    "samples; compare it with the control, which took exactly as many steps without the leaks. Whether RULE beats its "
    "control differs between methods, seeds and worlds.",
    "What so small a world does not show: that almost every method leaks. NPO usually leaks nothing here, while it does "
    "at a billion parameters. A low number can also mean broken text: read the samples and the retain column.",
    "verbatim@k is computed, not sampled: the probability p of the exact true answer gives 1-(1-p)^k for any k. It shows "
    "text that a method left in place behind a changed first word.",
)


def seeds_table(audits: Sequence[Sequence[Audited]]) -> Table:
    """Mean over seeds, with the smallest and the largest seed in brackets."""
    ks = (1, 16, 128)
    rows: list[tuple[str | Number, ...]] = []
    for name in MODELS:
        blocks = [_block_of(one, name) for one in audits]
        curves = [block["curves"]["samples"] for block in blocks]
        rows.append(
            (
                LABELS[name],
                _spread([block["greedy"] for block in blocks]),
                *(_spread([curve["value"][curve["k"].index(k)] for curve in curves]) for k in ks),
                _spread([block["retain"] for block in blocks]),
            )
        )
    columns = ("model", "greedy", *(f"leak@{k}" for k in ks), "retain")
    return Table(f"{len(audits)} seeds", columns, tuple(rows), "Mean over seeds [smallest, largest seed]; scorer fact.")


def _spread(values: Sequence[float]) -> Number:
    return Number(sum(values) / len(values), min(values), max(values))
