"""The cells of a bench: a run for each (model, prompts, decoding, seed, protocol), and the evidence of each model.

A cell is named by a hash of all that decides its content. What it already holds is not computed again; a changed model,
benchmark or setting is another cell.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakatk import __version__
from leakatk.auditing.audit import audit, powers_of_two
from leakatk.auditing.flagged import FORGET, RETAIN
from leakatk.auditing.sample import as_sampler, sample
from leakatk.auditing.score import score
from leakatk.auditing.summary import curve_dict
from leakatk.bench.harness import evaluate_tasks, harness_version
from leakatk.bench.plan import Plan, asked_as
from leakatk.bench.results import PROBE, WORST, Row
from leakatk.errors import RunError, first_line
from leakatk.estimate.leak import leak_at_k
from leakatk.files.strict_json import plain, strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.metrics.base import Evidence, MetricSettings
from leakatk.metrics.fluency import broken_share
from leakatk.metrics.utility import utility_sets
from leakatk.models.loaded import LoadedModel
from leakatk.registry import spec_name
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import Priced, get_scorer
from leakatk.workdir import HOLDER, LOCK


def evidence_of(
    plan: Plan,
    loaded: LoadedModel,
    retrained: Evidence | None,
    beside: Mapping[str, Sequence[Evidence]] | None = None,
) -> Evidence:
    """The evidence of one model, asked as it will be, with what its cell holds.

    The cell does not depend on the benchmark: what two of them ask of a model is computed once.
    """
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{Path(loaded.name).name}-evidence").strip("-")
    about = loaded.describe()
    made = mark("evidence", __version__, loaded.fingerprint, loaded.template, about["template"], about["dtype"])
    return Evidence(
        loaded,
        settings=plan.settings,
        retrained=retrained,
        keep=plan.out / "cells" / f"{words}-{made}",
        beside=beside,
    )


def mark(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _place(plan: Plan, loaded: LoadedModel, what: str, *identity: object) -> Path:
    """Where a cell lives: a readable name, and a hash of all that decides its content."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{Path(loaded.name).name}-{what}").strip("-")
    made = mark(what, loaded.fingerprint, plan.benchmark.fingerprint, plan.rules.name, loaded.template, *identity)
    return plan.out / "cells" / f"{words}-{made}"


def _file(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _stored(path: Path, compute: Callable[[], dict[str, Any]], *, keep: Callable[[dict[str, Any]], bool]) -> Any:
    """What `path` (JSON) holds, else what is computed, and kept there when it is whole. NaN is stored as null."""
    if path.exists():
        return read_kept(path)
    found = plain(compute())
    if keep(found):
        write_kept(path, strict_json(found) + "\n")
    return found


def former_values(plan: Plan, loaded: LoadedModel) -> dict[str, float] | None:
    """The numbers of a model from before its evidence was kept, where they are all that is asked for; else None.

    They were kept without what a retrained model adds, and for one level of the intervals.
    """
    settings = plan.settings
    identity = (__version__, settings.grad_norm, *([settings.text_tokens] if settings.text_tokens else []))
    path = _file(_place(plan, loaded, "evaluation", *identity))
    if (
        plan.compared
        or plan.level != MetricSettings().level
        or plan.metrics != plan.benchmark.metrics
        or not path.exists()
    ):
        return None
    return _numbers(read_kept(path)["values"])


def tasks_of(plan: Plan, loaded: LoadedModel) -> dict[str, float]:
    """lm-eval's numbers, each task in a cell of its own."""
    found: dict[str, float] = {}
    for task in plan.tasks:
        path = _file(_place(plan, loaded, f"task-{task}", plan.level, harness_version(), plan.task_dir))
        found |= _numbers(
            _stored(
                path,
                lambda task=task: evaluate_tasks(loaded, [task], task_dir=plan.task_dir, level=plan.level),  # type: ignore[misc]
                keep=lambda _: True,
            )
        )
    return found


def _numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if value is None else value for name, value in values.items()}


def leaks(
    plan: Plan, loaded: LoadedModel, decoding: Decoding, role: str, retrained: Path | None
) -> tuple[Path, dict[str, Row]]:
    """The audit run of one cell, and for each scorer its columns: leak@k, excess, greedy, retain, broken text."""
    asked, kept = (
        asked_as(loaded, plan.benchmark, plan.rules, "forget", plan.template),
        asked_as(loaded, plan.benchmark, plan.rules, "retain", plan.template),
    )
    behind = _behind(plan, asked, kept)
    guard = () if plan.guard is None else (behind["asked"].describe()["guard"],)
    place = _place(plan, asked, decoding.label, decoding.as_dict(), plan.seed, *guard)
    retain_place = _place(plan, kept, f"{decoding.label}-retain", decoding.as_dict(), plan.seed, *guard)
    retain = utility_sets(plan.benchmark)["retain"]

    about: dict[str, Any] = {
        "seed": plan.seed, "benchmark": plan.benchmark.name, "protocol": plan.rules.name, "quiet": plan.quiet,
    }  # fmt: skip
    # What does not depend on the decoding is computed once: greedy answers, to forget and to retain prompts.
    once = {
        place / part: _place(plan, asked, f"answers-{part}", decoding.as_greedy().as_dict(), plan.seed, *guard)
        for part in ("greedy", "retain")
    }

    def compute() -> dict[str, Any]:
        for judge in (get_scorer(name) for name in plan.scorers):
            if isinstance(judge, Priced):  # before any answer is drawn
                judge.check_ready()
        sample(behind["asked"], plan.benchmark.forget, n=plan.n, decoding=decoding, out=place, **about)
        for part, stored in once.items():
            copy_run(stored, part)
        results = audit(
            behind["asked"], plan.benchmark.forget, out=place, n=plan.n, ks=powers_of_two(plan.n), decoding=decoding, retain=retain,
            scorers=plan.scorers, reference=retrained, probes=plan.probes, paraphrases=False, level=plan.level, role=role,
            **about,
        )  # fmt: skip
        for part, stored in once.items():
            copy_run(part, stored)
        counts = results["answers"]
        shared: Row = {
            "sampled_broken": _broken(Run.open(place), plan.n),
            "sampled_cut": counts["cut"] / counts["answers"],
            "sampled_empty": counts["empty"] / counts["answers"],
            **_guarded(results, behind["asked"]),
        }
        blocks = {name: {**shared, **_columns(results, get_scorer(name).label)} for name in plan.scorers}
        if not retain or not plan.retain_n:
            return blocks
        run = sample(
            behind["kept"],
            retain,
            n=plan.retain_n,
            decoding=decoding,
            out=retain_place,
            label="retain samples",
            **about,
        )
        broken = _broken(run, plan.retain_n)
        for name, block in blocks.items():
            block |= {"retain_broken": broken, **_retain_leak(plan, run, name)}
        return blocks

    asked_how = (plan.probes,) if plan.probes else ()
    numbers = mark(
        __version__, plan.n, plan.retain_n, plan.scorers, plan.level, retrained and retrained.name, *asked_how
    )
    blocks = _stored(
        place / f"row-{numbers}.json", compute, keep=lambda found: all(not b["missing"] for b in found.values())
    )
    return place, {
        name: {key: value for key, value in block.items() if key != "missing"} for name, block in blocks.items()
    }


def _behind(plan: Plan, asked: LoadedModel, kept: LoadedModel) -> dict[str, Any]:
    """What answers forget prompts ("asked") and retain prompts ("kept"): the model, behind the guard where there is one."""
    if plan.guard is None:
        return {"asked": asked, "kept": kept}
    from leakatk.guards.sampler import guarded

    first = guarded(as_sampler(asked), plan.known, plan.guard)
    same = kept.template == asked.template  # a guard that reads the model is fitted on the prompts as they are rendered
    return {"asked": first, "kept": first if same else guarded(as_sampler(kept), plan.known, plan.guard)}


def _guarded(results: Mapping[str, Any], sampler: Any) -> Row:
    """Columns of a guard: the shares of the forget prompts and of the retain prompts that it acts on."""
    if not results.get("guard"):
        return {}
    row: Row = {"model_sha256": sampler.describe()["fingerprint"]}
    for column, group in (("flagged", FORGET), ("false_refusals", RETAIN)):
        if one := results["guard"]["groups"].get(group):
            row |= {column: one["value"], f"{column} low": one["low"], f"{column} high": one["high"]}
    return row


def copy_run(source: Path, target: Path) -> None:
    """The run in `source` also at `target`, whole or not at all; where there is one already, that one stays."""
    if not source.is_dir() or target.exists():
        return
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary, ignore=shutil.ignore_patterns(".*", LOCK, HOLDER))
        temporary.rename(target)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not target.exists():  # else another process was first
            raise RunError(
                f"Cannot copy {source} to {target}: {error.strerror or first_line(error)}; free some space or choose another "
                "place, then run the same command again. What was finished is kept."
            ) from error


def _columns(results: Mapping[str, Any], scorer: str) -> Row:
    """One scorer's results of an audit as columns; those of a way of asking start with its name ("prefix: leak@4")."""
    block = results["scorers"][scorer]
    probes = {name: found["scorers"][scorer] for name, found in results.get("probes", {}).items()}
    missing = sum(one["missing"] for one in (block, *probes.values()))
    row: Row = {"missing": missing, "retain": block.get("retain"), **_asked_columns(block)}
    row |= {"prompts": results["m"], "unscored": len(block["undefined"])}
    for name, found in probes.items():
        row |= {f"{PROBE}{name}: {key}": value for key, value in _asked_columns(found).items()}
    if "worst" in results:
        worst = _asked_columns(results["worst"]["scorers"][scorer])
        row |= {f"{PROBE}{WORST}: {key}": value for key, value in worst.items()}
    return row


def _asked_columns(block: Mapping[str, Any]) -> Row:
    """Greedy, leak@k and excess of one way of asking, with intervals over samples."""
    row: Row = {"greedy": block["greedy"]} if "greedy" in block else {}
    for kind, curves in (("leak", block["curves"]), ("excess", block.get("excess"))):
        if curves is not None:
            row |= _curve_columns(kind, curves["samples"])
    return row


def _curve_columns(kind: str, curve: Mapping[str, Sequence[float]]) -> Row:
    """kind@k, with the ends of its interval."""
    columns: Row = {}
    for k, value, low, high in zip(curve["k"], curve["value"], curve["low"], curve["high"], strict=True):
        columns |= {f"{kind}@{k}": value, f"{kind}@{k} low": low, f"{kind}@{k} high": high}
    return columns


def _retain_leak(plan: Plan, run: Run, name: str) -> Row:
    """retain@k: the same metric and estimator on the retain prompts. Is the model still useful when it is sampled?"""
    scores = score(run, _keeping_direction(name))
    scores = scores[np.isfinite(scores).any(axis=1)]
    if not scores.size:
        return {}
    curve = leak_at_k(scores, powers_of_two(scores.shape[1]), level=plan.level, missing="allow")
    return _curve_columns("retain", curve_dict(curve))


def _keeping_direction(name: str) -> str:
    """On what is to be kept, entailment asks the other way round: does the truth entail what was said?"""
    plain = spec_name(name) == "entailment" and "direction=" not in name
    return name + (",direction=retain" if ":" in name else ":direction=retain") if plain else name


def _broken(run: Run, n: int) -> float:
    """Share of the first `n` samples of every prompt that are no text."""
    return broken_share([text for row in run.texts() for text in row[:n]])
