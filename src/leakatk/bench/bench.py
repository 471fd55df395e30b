"""`leakatk bench`: every number of a benchmark for one model, leak@k beside them, as rows of one results file.

Under `out`: cells/ holds what was sampled and computed (`leakatk.bench.cells`); results.parquet one row for each model,
decoding and core metric.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leakatk.auditing.asking import probed, with_wordings
from leakatk.auditing.audit import check_defined
from leakatk.bench.cells import evidence_of, former_values, leaks, tasks_of
from leakatk.bench.harness import harness_version
from leakatk.bench.plan import RETAIN_N, Plan, label_of, scorers_of, tried
from leakatk.bench.plan import asked_as as asked_as
from leakatk.bench.results import RESULTS, ROLES, WAIT, Row, read_rows, write_rows
from leakatk.benchmarks.base import Ask, Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.errors import InputError, RunError
from leakatk.guards.base import Guard
from leakatk.metrics.base import METRICS, Evidence, MetricSettings, check_further, evaluate, names_of, wanted
from leakatk.metrics.utility import utility_sets
from leakatk.models.load import check_source, load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import check_placement
from leakatk.models.template import Template
from leakatk.prompts import Known
from leakatk.sampling.decoding import Decoding
from leakatk.workdir import claim, clear, contents


def bench(
    model: str | Path,
    benchmark: str | Benchmark,
    *,
    out: str | Path,
    retrained: str | Path | None = None,
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
    metrics: Sequence[str] = (),
    reference: str | Path | None = None,
    device_map: str = "",
    load_in: str = "",
    auxiliary: Sequence[tuple[str, str | Path]] = (),
    encoder: str = "",
    nli: str = "",
    label: str = "",
    role: str = "model",
    guard: str | Guard = "",
    guard_auxiliary: Mapping[str, str] | None = None,
) -> list[Row]:
    """Audit and evaluate a model, and return the rows written to out/results.parquet.

    model: directory or hub id; retrained: that of the model which never saw the forget data.
    protocol: conventions by name; n, scorer, ask and decodings default to its own, or the benchmark's.
    n, retain_n: samples of a forget and of a retain prompt (0: retain prompts are not sampled).
    decodings: default the protocol's headline, or its whole grid with `grid`.
    probes: also ask in these ways (`leakatk.probes`), with n samples each, at every decoding.
    paraphrases: also in the other wordings that prompts carry, as a gate should.
    template: "auto", "chat" or "plain" (`asked_as`); template_args: (name, value) arguments of the chat template.
    text_tokens: where the texts of MUSE's membership attack are cut; 0, as published, is nowhere.
    ask: TOFU's "question" or "paraphrased".
    grad_norm: also the gradient-norm attack.
    tasks: further utility by lm-eval, such as mmlu; task_dir: task files of your own.
    metrics: further ones by name (`leakatk.metrics`), besides those of the benchmark.
    data, revision: directory of the benchmark's files, or what is taken from the hub.
    reference: `retrained` under its former name.
    device_map, load_in: as for `load_model`.
    auxiliary: (part, model) of the further models that metrics look at (`leakatk.metrics.base.FURTHER`), those of one part in order.
    encoder, nli: sentence encoder and entailment model of forget efficacy; both or neither. With a guard, its encoder.
    label: what tables call the model; default its name.  role: what it is, one of `ROLES`.
    guard: a guard by name (`leakatk.guards`), fitted on the benchmark's forget and retain prompts in front of each model, the retrained
    one too; then what looks at the weights is not measured.  guard_auxiliary: name -> model that it needs.

    Raises UnknownNameError for an unknown benchmark, protocol, scorer, metric or probe, InputError for a probe that no
    prompt can be asked with or a metric that the benchmark does not allow, and ModelError for a scorer whose model cannot
    be loaded: before anything is computed.
    """
    if reference is not None:
        if retrained is not None:
            raise InputError("Give the retrained model once: `reference` is `retrained` under its former name.")
        retrained = reference
    if role not in ROLES:
        raise InputError(f"Unknown role {role!r}; use one of {', '.join(ROLES)}.")
    if role == "retrained" and retrained is not None:
        raise InputError("The model measured is the retrained one by its role: leave out the other retrained model.")
    rules = PROTOCOLS[protocol].on(benchmark if isinstance(benchmark, str) else benchmark.name)
    for name, value, least in (("n", n, 1), ("retain_n", retain_n, 0)):
        if value is not None and value < least:
            raise InputError(f"{name} must be at least {least}, got {value}.")
    if isinstance(benchmark, str):
        benchmark = load_benchmark(benchmark, data=data, seed=seed, ask=ask or rules.ask, revision=revision)
    one = scorer or rules.scorer
    before = _guard_of(guard, metrics=metrics, tasks=tasks, auxiliary=auxiliary, nli=nli)
    known = Known(
        benchmark.forget, benchmark.retain, auxiliary=dict(guard_auxiliary or {}), encoder=encoder if before else ""
    )
    if before is not None:
        known.need(f"Guard {before.name}", *before.needs)
    kept = utility_sets(benchmark)["retain"]
    asked = probed(probes, benchmark.forget, kept)
    asked = with_wordings(asked, benchmark.forget, kept) if paraphrases else asked
    plan = Plan(
        benchmark=benchmark,
        rules=rules,
        decodings=tuple(decodings) if decodings else rules.grid if grid else (rules.headline,),
        scorers=tuple(tried(name) for name in ((one,) if one else scorers_of(benchmark))),
        metrics=() if before else names_of(benchmark, metrics),
        settings=MetricSettings(
            grad_norm=grad_norm, text_tokens=text_tokens, level=level, encoder="" if before else encoder, nli=nli
        ),
        compared=retrained is not None,
        counts=dict(Counter(part for part, _ in auxiliary)),
        probes=tuple(one.label for one in asked),
        template=template,
        n=rules.n if n is None else n,
        retain_n=retain_n,
        seed=seed,
        tasks=tuple(tasks) if not tasks or harness_version() else (),
        task_dir=Path(task_dir) if task_dir else None,
        out=Path(out),
        quiet=quiet,
        guard=before,
        known=known,
    )
    check_further(benchmark, metrics, compared=plan.compared, counts=plan.counts)
    for name, place_of in (("similarity", "" if before else encoder), ("entailment", nli)):
        if place_of:
            tried(f"{name}:model={place_of}")
    sources = [*(source for _, source in auxiliary), model, retrained]
    for source in sources:
        if source is not None:
            check_placement(str(source), device, device_map, load_in)
    if load_in and grad_norm:
        raise InputError(
            f"The gradient-norm attack needs weights as numbers, and --load-in {load_in} makes codes of them; add --no-grad-norm, "
            "or leave out --load-in."
        )
    if (held := contents(out)) and not held & {RESULTS, "cells"}:
        raise RunError(
            f"{out} is not empty and holds no benchmark results; choose another directory. Nothing was changed."
        )
    for source in sources:
        check_source(source)
    if (plan.out / RESULTS).exists():
        read_rows(plan.out)  # one that cannot be added to is refused before anything is computed
    check_defined(plan.scorers, benchmark.forget)
    with claim(plan.out, wait=WAIT):  # for a moment: several models may be measured into one directory at a time
        cells = plan.out / "cells"
        for folder in (cells, *cells.glob("*/")):
            clear(folder)
    rows: list[Row] = []
    yardstick: Evidence | None = None
    runs: dict[Decoding, Path] = {}

    def load(source: str | Path) -> LoadedModel:
        return load_model(
            source, device=device, dtype=dtype, template=Template(as_text=rules.as_text, args=tuple(template_args)),
            device_map=device_map, load_in=load_in,
        )  # fmt: skip

    beside: dict[str, list[Evidence]] = {}
    looking = [name for name in plan.metrics if METRICS[name].further]
    for part, source in auxiliary:
        further = evidence_of(plan, asked_as(load(source), plan.benchmark, plan.rules, "forget", plan.template), None)
        further.get(wanted(further, benchmark, looking, compared=plan.compared, counts=plan.counts, others=True))
        further.close()
        beside.setdefault(part, []).append(further)
    for source, part, own in ((retrained, "retrained", False), (model, role, True)):
        if source is None:
            continue
        loaded = load(source)
        if template_args:
            loaded.template.describe(loaded.tokenizer)  # one that the template does not know is an error now
        asked_now = asked_as(loaded, plan.benchmark, plan.rules, "forget", plan.template)
        values: dict[str, float] | None = {} if before else former_values(plan, asked_now)
        if values is None:
            # The retrained model ends no series and is like no other: of the further models it is held against the original alone.
            around = beside if own else {name: found for name, found in beside.items() if name == "original"}
            evidence = evidence_of(plan, asked_now, yardstick, around)
            values = evaluate(
                evidence, plan.benchmark, metrics=plan.metrics, compared=plan.compared, counts=plan.counts
            )
            evidence.close()
            if not own:
                yardstick = evidence
        values = {**values, **(tasks_of(plan, loaded) if plan.tasks else {})}
        for decoding in plan.decodings:
            place, blocks = leaks(plan, loaded, decoding, part, runs.get(decoding))
            if not own:
                runs[decoding] = place
            common = {
                "model": str(source), "role": part, "label": label if own else "", "model_sha256": loaded.fingerprint, "benchmark": benchmark.name,
                "benchmark_sha256": benchmark.fingerprint, "protocol": protocol, "decoding": label_of(decoding, rules),
                "seed": seed, "n": plan.n, "run": str(place), "origin": benchmark.origin,
                "weights_sha256": loaded.weights.get("weights_sha256", ""),
                **({"model": f"{source} behind {told}", "guard": told} if (told := _told(guard)) else {}),
            }  # fmt: skip
            found = [{**common, "scorer": name, **block, **values} for name, block in blocks.items()]
            write_rows(plan.out / RESULTS, found)
            rows += found
    return rows


def _told(guard: str | Guard) -> str:
    """The guard as tables call it."""
    return (guard if isinstance(guard, str) else guard.name).replace("/", "-")


def _guard_of(
    guard: str | Guard, *, metrics: Sequence[str], tasks: Sequence[str], auxiliary: Sequence[object], nli: str
) -> Guard | None:
    """The guard, None without one. InputError for what looks at the weights, and for one that was fitted for one model."""
    if not guard:
        return None
    from leakatk.guards import get_guard
    from leakatk.guards.saved import is_saved

    for option, given in (
        ("--metric", metrics),
        ("--task", tasks),
        ("--nli", nli),
        ("models beside the measured one", auxiliary),
    ):
        if given:
            raise InputError(
                f"Behind a guard leak@k and false refusals are measured, and nothing that looks at the weights: leave out {option}, or --guard."
            )
    if isinstance(guard, str) and is_saved(guard):
        raise InputError(
            f"{guard} is a guard that was fitted for one model, and a bench fits it in front of each; give its name and options."
        )
    return get_guard(guard)
