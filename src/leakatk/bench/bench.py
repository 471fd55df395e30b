"""`leakatk bench`: every number of a benchmark for one model, leak@k beside them, as rows of one results file.

Under `out`: cells/ holds an audit run for each (model, prompts, decoding, seed, protocol), the same for the retain
prompts, and the evaluation of each model; results.parquet one row for each cell and core metric. A cell is named by a
hash of all that decides its content. What it already holds is not computed again; a changed model, benchmark or
setting is another cell.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leakatk import __version__
from leakatk.auditing.asking import probed, with_wordings
from leakatk.auditing.audit import audit, check_defined, powers_of_two
from leakatk.auditing.sample import sample
from leakatk.auditing.score import score
from leakatk.auditing.summary import curve_dict
from leakatk.bench.harness import evaluate_tasks, harness_version
from leakatk.bench.results import PROBE, RESULTS, WAIT, WORST, Row, read_rows, write_rows
from leakatk.benchmarks.base import Ask, Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.muse import is_passages
from leakatk.benchmarks.protocols import PROTOCOLS, Protocol
from leakatk.errors import InputError, RunError, first_line
from leakatk.estimate.leak import leak_at_k
from leakatk.files.strict_json import plain, strict_json
from leakatk.files.writing import read_kept, write_kept
from leakatk.metrics.base import Evaluation, Passes, against
from leakatk.metrics.choices import choice_passes, evaluate_choices
from leakatk.metrics.muse import evaluate_muse, muse_passes
from leakatk.metrics.privacy import broken_share
from leakatk.metrics.tofu import evaluate, tofu_passes, utility_sets
from leakatk.models.load import check_source, load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Prompt
from leakatk.registry import spec_name
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import Priced, get_scorer
from leakatk.scorers.knows import default_scorers
from leakatk.workdir import HOLDER, LOCK, claim, clear, contents

RETAIN_N = 20  # samples of a retain prompt: usefulness is a mean, not a rare event


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured on every model, all of it checked.

    n, retain_n: samples of a forget and of a retain prompt (0: retain prompts are not sampled).  scorers: core metrics.
    probes: further ways of asking.  template: see `asked_as`.  text_tokens: where texts of a membership attack are cut (0: nowhere).  tasks: of lm-eval, their own files in `task_dir`.  grad_norm: also the gradient-norm
    attack.
    """

    benchmark: Benchmark
    rules: Protocol
    decodings: tuple[Decoding, ...]
    scorers: tuple[str, ...]
    probes: tuple[str, ...]
    template: str
    text_tokens: int
    n: int
    retain_n: int
    seed: int
    level: float
    grad_norm: bool
    tasks: tuple[str, ...]
    task_dir: Path | None
    out: Path
    quiet: bool


def bench(
    model: str | Path,
    benchmark: str | Benchmark,
    *,
    out: str | Path,
    reference: str | Path | None = None,
    protocol: str = "clean",
    n: int | None = None,
    retain_n: int = RETAIN_N,
    decodings: Sequence[Decoding] | None = None,
    grid: bool = False,
    scorer: str | None = None,
    probes: Sequence[str] = (),
    paraphrases: bool = False,
    template: str = "auto",
    text_tokens: int = 0,
    ask: Ask | None = None,
    grad_norm: bool = True,
    tasks: Sequence[str] = (),
    task_dir: str | Path | None = None,
    data: str | Path | None = None,
    revision: str = "main",
    seed: int = 0,
    device: str = "auto",
    dtype: str = "auto",
    level: float = 0.95,
    quiet: bool = False,
    template_args: Sequence[tuple[str, Any]] = (),
) -> list[Row]:
    """Audit and evaluate `model` (and `reference`, the retrained one) and return the rows written to out/results.parquet.

    decodings: default the protocol's headline, or its whole grid with `grid`.  n, scorer and ask (TOFU's "question" or
    "paraphrased"): default the protocol's, or the benchmark's.  probes: also ask in these ways (`leakatk.probes`), with n
    samples each, at every decoding.  paraphrases: also in the other wordings that prompts carry, as a gate should.  template: "auto", "chat" or
    "plain" (`asked_as`).  text_tokens: where the texts of MUSE's membership attack are cut; 0, as published, is nowhere.  tasks: further utility by lm-eval, such as mmlu; task_dir: task files of your own.
    revision: of the benchmark on the hub.  template_args: (name, value) arguments of the chat template. Raises UnknownNameError for an unknown benchmark, protocol, scorer or probe,
    InputError for a probe that no prompt can be asked with, and ModelError for a scorer whose model cannot be loaded,
    before anything is computed.
    """
    rules = PROTOCOLS[protocol].on(benchmark if isinstance(benchmark, str) else benchmark.name)
    for name, value, least in (("n", n, 1), ("retain_n", retain_n, 0)):
        if value is not None and value < least:
            raise InputError(f"{name} must be at least {least}, got {value}.")
    if isinstance(benchmark, str):
        benchmark = load_benchmark(benchmark, data=data, seed=seed, ask=ask or rules.ask, revision=revision)
    one = scorer or rules.scorer
    kept = utility_sets(benchmark)["retain"]
    asked = probed(probes, benchmark.forget, kept)
    asked = with_wordings(asked, benchmark.forget, kept) if paraphrases else asked
    plan = Plan(
        benchmark=benchmark,
        rules=rules,
        decodings=tuple(decodings) if decodings else rules.grid if grid else (rules.headline,),
        scorers=tuple(_tried(name) for name in ((one,) if one else scorers_of(benchmark))),
        probes=tuple(one.label for one in asked),
        template=template,
        text_tokens=text_tokens,
        n=rules.n if n is None else n,
        retain_n=retain_n,
        seed=seed,
        level=level,
        grad_norm=grad_norm,
        tasks=tuple(tasks) if not tasks or harness_version() else (),
        task_dir=Path(task_dir) if task_dir else None,
        out=Path(out),
        quiet=quiet,
    )
    if (held := contents(out)) and not held & {RESULTS, "cells"}:
        raise RunError(
            f"{out} is not empty and holds no benchmark results; choose another directory. Nothing was changed."
        )
    for source in (model, reference):
        check_source(source)
    if (plan.out / RESULTS).exists():
        read_rows(plan.out)  # one that cannot be added to is refused before anything is computed
    check_defined(plan.scorers, benchmark.forget)
    with claim(plan.out, wait=WAIT):  # for a moment: several models may be measured into one directory at a time
        cells = plan.out / "cells"
        for folder in (cells, *cells.glob("*/")):
            clear(folder)
    rows: list[Row] = []
    retrained: Evaluation | None = None
    runs: dict[Decoding, Path] = {}
    for source, role in ((reference, "retrained"), (model, "model")):
        if source is None:
            continue
        loaded = load_model(
            source, device=device, dtype=dtype, template=Template(as_text=rules.as_text, args=tuple(template_args))
        )
        if template_args:
            loaded.template.describe(loaded.tokenizer)  # one that the template does not know is an error now
        evaluation = _evaluation(plan, asked_as(loaded, plan.benchmark, plan.rules, "forget", plan.template))
        values = against(evaluation, retrained).values
        if role == "retrained":
            retrained = evaluation
        values = {**values, **(_tasks(plan, loaded) if plan.tasks else {})}
        for decoding in plan.decodings:
            place, blocks = _leaks(plan, loaded, decoding, role, runs.get(decoding))
            if role == "retrained":
                runs[decoding] = place
            common = {
                "model": str(source), "role": role, "model_sha256": loaded.fingerprint, "benchmark": benchmark.name,
                "benchmark_sha256": benchmark.fingerprint, "protocol": protocol, "decoding": _label(decoding, rules),
                "seed": seed, "n": plan.n, "run": str(place), "origin": benchmark.origin,
            }  # fmt: skip
            found = [{**common, "scorer": name, **block, **values} for name, block in blocks.items()]
            write_rows(plan.out / RESULTS, found)
            rows += found
    return rows


def _label(decoding: Decoding, rules: Protocol) -> str:
    """The decoding's name, with its length where that is not the protocol's: rows that differ in it alone stay apart."""
    length = decoding.max_new_tokens
    return decoding.label + (f" {length} tokens" if length != rules.headline.max_new_tokens else "")


def scorers_of(benchmark: Benchmark) -> tuple[str, ...]:
    """choice for lettered questions, ROUGE-L without stemmer for MUSE, else what an audit takes by itself."""
    if benchmark.name.startswith("wmdp/"):
        return ("rouge-l",) if benchmark.name.endswith(":open") else ("choice",)
    if _is_muse(benchmark):
        return ("rouge-l:stem=no",)
    return default_scorers(benchmark.forget)


def _tried(name: str) -> str:
    """The scorer's name; one that needs a model is tried on one pair first. A judge is not: that would cost a request."""
    scorer = get_scorer(name)
    if scorer.needs_model and not scorer.retries_missing:
        scorer.score([Prompt("trial", "Say yes.", "yes")], ["yes"])
    return name


def asked_as(
    loaded: LoadedModel, benchmark: Benchmark, rules: Protocol, which: str, template: str = "auto"
) -> LoadedModel:
    """The model, asked as the protocol or the benchmark says where it is to be asked so.

    which: "forget" or "retain".  template: "auto" asks a base model in the benchmark's plain template (such as MUSE's
    few-shot prompt) and a chat model in its own, but multiple choice in the harness's plain prompt whatever the model;
    "chat" and "plain" decide for all. Passages to continue are always plain.
    """
    passages = is_passages(benchmark.name)
    plain = benchmark.templates.get(which) if passages else rules.plain or benchmark.templates.get(which)
    chat = loaded.template.is_chat(loaded.tokenizer)
    if template == "chat" and not passages:
        loaded.template.__class__(kind="chat").is_chat(loaded.tokenizer)  # an error where there is none
        return loaded
    own = chat and template == "auto" and not passages and not any(prompt.choices for prompt in benchmark.forget)
    if not plain or own:
        return loaded
    return dataclasses.replace(loaded, template=dataclasses.replace(loaded.template, kind="plain", plain=plain))


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _place(plan: Plan, loaded: LoadedModel, what: str, *identity: object) -> Path:
    """Where a cell lives: a readable name, and a hash of all that decides its content."""
    words = re.sub(r"[^A-Za-z0-9.]+", "-", f"{Path(loaded.name).name}-{what}").strip("-")
    mark = _hash(what, loaded.fingerprint, plan.benchmark.fingerprint, plan.rules.name, loaded.template, *identity)
    return plan.out / "cells" / f"{words}-{mark}"


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


def _evaluation(plan: Plan, loaded: LoadedModel) -> Evaluation:
    """The evaluation of one model, from its cell when it is there."""
    path = _file(
        _place(
            plan, loaded, "evaluation", __version__, plan.grad_norm, *([plan.text_tokens] if plan.text_tokens else [])
        )
    )
    stored = _stored(path, lambda: dataclasses.asdict(_evaluate(plan, loaded)), keep=lambda _: True)
    scores = {name: (np.array(pair[0]), np.array(pair[1])) for name, pair in stored["scores"].items()}
    return Evaluation(_numbers(stored["values"]), np.array(stored["ratios"], dtype=np.float64), scores)


def _evaluate(plan: Plan, loaded: LoadedModel) -> Evaluation:
    """The table of the benchmark's family."""
    if _is_muse(plan.benchmark):
        return evaluate_muse(loaded, plan.benchmark, max_tokens=plan.text_tokens, grad_norm=plan.grad_norm)
    if _is_choices(plan.benchmark):
        result = evaluate_choices(loaded, plan.benchmark, level=plan.level)
        return Evaluation(
            {
                "accuracy": result.accuracy, "accuracy low": result.low, "accuracy high": result.high,
                "probability": result.probability, "chance": result.chance,
            }
        )  # fmt: skip
    return evaluate(loaded, plan.benchmark, grad_norm=plan.grad_norm)


def passes(loaded: LoadedModel, benchmark: Benchmark, *, grad_norm: bool) -> Passes:
    """What the table of the benchmark's family computes for a model, asked as it will be."""
    if _is_muse(benchmark):
        return muse_passes(loaded, benchmark, grad_norm=grad_norm)
    if _is_choices(benchmark):
        return choice_passes(loaded, benchmark)
    return tofu_passes(loaded, benchmark, grad_norm=grad_norm)


def _is_muse(benchmark: Benchmark) -> bool:
    return bool(benchmark.texts.get("privleak_forget"))


def _is_choices(benchmark: Benchmark) -> bool:
    return scorers_of(benchmark) == ("choice",)


def _tasks(plan: Plan, loaded: LoadedModel) -> dict[str, float]:
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


def _leaks(
    plan: Plan, loaded: LoadedModel, decoding: Decoding, role: str, reference: Path | None
) -> tuple[Path, dict[str, Row]]:
    """The audit run of one cell, and for each scorer its columns: leak@k, excess, greedy, retain, broken text."""
    asked, kept = (
        asked_as(loaded, plan.benchmark, plan.rules, "forget", plan.template),
        asked_as(loaded, plan.benchmark, plan.rules, "retain", plan.template),
    )
    place = _place(plan, asked, decoding.label, decoding.as_dict(), plan.seed)
    retain_place = _place(plan, kept, f"{decoding.label}-retain", decoding.as_dict(), plan.seed)
    retain = utility_sets(plan.benchmark)["retain"]

    about: dict[str, Any] = {
        "seed": plan.seed, "benchmark": plan.benchmark.name, "protocol": plan.rules.name, "quiet": plan.quiet,
    }  # fmt: skip
    # What does not depend on the decoding is computed once: greedy answers, to forget and to retain prompts.
    once = {
        place / part: _place(plan, asked, f"answers-{part}", decoding.as_greedy().as_dict(), plan.seed)
        for part in ("greedy", "retain")
    }

    def compute() -> dict[str, Any]:
        for judge in (get_scorer(name) for name in plan.scorers):
            if isinstance(judge, Priced):  # before any answer is drawn
                judge.check_ready()
        sample(asked, plan.benchmark.forget, n=plan.n, decoding=decoding, out=place, **about)
        for part, stored in once.items():
            _copy(stored, part)
        results = audit(
            asked, plan.benchmark.forget, out=place, n=plan.n, ks=powers_of_two(plan.n), decoding=decoding, retain=retain,
            scorers=plan.scorers, reference=reference, probes=plan.probes, paraphrases=False, level=plan.level, role=role,
            **about,
        )  # fmt: skip
        for part, stored in once.items():
            _copy(part, stored)
        counts = results["answers"]
        shared: Row = {
            "sampled_broken": _broken(Run.open(place), plan.n),
            "sampled_cut": counts["cut"] / counts["answers"],
            "sampled_empty": counts["empty"] / counts["answers"],
        }
        blocks = {name: {**shared, **_columns(results, get_scorer(name).label)} for name in plan.scorers}
        if not retain or not plan.retain_n:
            return blocks
        run = sample(
            kept, retain, n=plan.retain_n, decoding=decoding, out=retain_place, label="retain samples", **about
        )
        broken = _broken(run, plan.retain_n)
        for name, block in blocks.items():
            block |= {"retain_broken": broken, **_retain_leak(plan, run, name)}
        return blocks

    asked_how = (plan.probes,) if plan.probes else ()
    numbers = _hash(
        __version__, plan.n, plan.retain_n, plan.scorers, plan.level, reference and reference.name, *asked_how
    )
    blocks = _stored(
        place / f"row-{numbers}.json", compute, keep=lambda found: all(not b["missing"] for b in found.values())
    )
    return place, {
        name: {key: value for key, value in block.items() if key != "missing"} for name, block in blocks.items()
    }


def _copy(source: Path, target: Path) -> None:
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
