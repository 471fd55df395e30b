"""leakatk unlearn: make a model forget, keep what must be kept, and stop by a stated rule."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import given as extras
from leakatk.cli import inputs, options, rule
from leakatk.cli import training as training_options
from leakatk.cli.config import Config, written_back
from leakatk.cli.preset import configure, trained_as
from leakatk.cli.requests import run_requests
from leakatk.errors import InputError, UnknownNameError
from leakatk.workdir import claim

if TYPE_CHECKING:
    from leakatk.prompts import Prompt
    from leakatk.unlearning.settings import OnCheck

EXAMPLES = options.examples(
    "leakatk unlearn models/full --forget forget.jsonl --retain retain.jsonl --method npo --out models/npo",
    "leakatk unlearn models/full --benchmark world --method simnpo --stop-greedy --out models/simnpo",
    "leakatk unlearn models/simnpo --benchmark world --method rule --base simnpo --out models/rule",
    "leakatk unlearn org/model --benchmark tofu/forget10 --method npo --lora --epochs 10 --lr 1e-5 --out models/npo",
)


def add_to(app: typer.Typer) -> None:
    app.command("unlearn", short_help="Make a model forget, with a method of the field or RULE.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory (full or LoRA adapter) or hub id.")],
    method: Annotated[
        str,
        typer.Option(
            help="See leakatk methods; rule wraps the method named by --base.", autocompletion=options.named("methods")
        ),
    ],
    out: Annotated[Path, typer.Option(help="Directory for the unlearned model; the same command resumes it.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts.")] = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    base: Annotated[str, typer.Option(help="RULE's base method.", autocompletion=options.named("methods"))] = "",
    preset: Annotated[str, typer.Option(help="paper, small, or auto (small below 20 million parameters).")] = "auto",
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Optimiser steps at most; of one round with RULE (default 20).")
    ] = None,
    epochs: Annotated[float | None, typer.Option(help="Epochs over the forget prompts, instead of steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Forget answers (and as many retain answers) a step.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches a step, to save memory.")] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE of the method's formula; may be repeated.")
    ] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train a LoRA adapter (merged at the end).")] = False,
    lora_rank: training_options.LoraRank = None,
    lora_alpha: training_options.LoraAlpha = None,
    lora_targets: training_options.LoraTargets = "",
    keep_adapter: training_options.KeepAdapter = False,
    warmup: training_options.Warmup = None,
    schedule: training_options.Schedule = "",
    weight_decay: training_options.WeightDecay = None,
    gradient_checkpointing: training_options.GradientCheckpointing = False,
    stop_greedy: Annotated[
        bool, typer.Option("--stop-greedy", help="Stop once greedy answers forget and still know the retain prompts.")
    ] = False,
    utility_floor: Annotated[float, typer.Option(help="Stop with an error when greedy retain falls below.")] = 0.0,
    check_every: Annotated[int, typer.Option(help="Steps between checks.")] = 5,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints (0: none).")] = 50,
    scorer: Annotated[
        str,
        typer.Option(
            help="Core metric of the checks and of RULE's detector; default by prompts.",
            autocompletion=options.named("scorers"),
        ),
    ] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Longest greedy answer in checks.")] = 64,
    rounds: Annotated[int, typer.Option(help="RULE: rounds at most.")] = 3,
    n: Annotated[int, typer.Option("--n", help="RULE: samples a prompt and round.")] = 128,
    target: Annotated[float | None, typer.Option(help="RULE: stop once this bound on leak@n is certified.")] = None,
    control: Annotated[
        bool, typer.Option("--control", help="RULE: also train OUT/control, as many steps with nothing added.")
    ] = False,
    wordings: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="RULE: detection also asks each prompt's first so many paraphrases; the others are never asked "
            "(default 0; calibrated: 1).",
        ),
    ] = None,
    leak_wordings: Annotated[
        str, typer.Option(help="RULE: a leak joins under the wording that drew it (drawn), or under all asked (all).")
    ] = "drawn",
    rule_reference: Annotated[
        str,
        typer.Option(
            help="RULE: losses with a reference compare with the round's start (round) or with the model given (original)."
        ),
    ] = "round",
    chunk: Annotated[
        int,
        typer.Option(min=0, help="RULE: samples at a time; a prompt with enough leaks is sampled no further (0: all)."),
    ] = 0,
    rule_preset: Annotated[
        str,
        typer.Option(
            help="RULE: default, or paper (the values inferred from the authors' files: leakatk methods rule)."
        ),
    ] = rule.DEFAULT,
    retrained: Annotated[
        str,
        typer.Option(
            help="RULE: the retrained model. RULE stops at its level (calibrated), trains the control and writes verdict.json."
        ),
    ] = "",
    reference: Annotated[str, typer.Option(help="The former name of --retrained.", hidden=True)] = "",
    original: Annotated[
        str,
        typer.Option(help="Calibrated RULE: the model before any unlearning; with --unseen, rounds match the unseen."),
    ] = "",
    unseen: Annotated[
        Path | None,
        typer.Option(
            help="True answers no model was trained on (JSONL): for --stop-memorised; for calibrated RULE, a hundred or more."
        ),
    ] = None,
    rehearsal: Annotated[
        float,
        typer.Option(
            min=0,
            help="Calibrated RULE: asking the original what it knows costs at most so many times the training of all rounds "
            "(0: it is not asked).",
        ),
    ] = 5.0,
    refused: Annotated[
        Path | None, typer.Option(help="Prompts that the model refuses to answer, for methods that imitate it (JSONL).")
    ] = None,
    auxiliary: Annotated[
        list[str] | None,
        typer.Option(help="A further model that the method compares with: NAME=MODEL; may be repeated."),
    ] = None,
    alternates: Annotated[
        str,
        typer.Option(
            help="For methods that prefer other answers: a file of question and answer, or a writer (default: the method's own, mostly the model itself)."
        ),
    ] = "",
    forget_as: Annotated[
        str,
        typer.Option(
            help="Train on the forget prompts as a writer asks them (apart, triggers, rewrite) or tells them (textbook)."
        ),
    ] = "",
    margins: Annotated[
        Path | None, typer.Option(help="For method dmm: what a datamodel predicts, rows of id and margin (JSONL).")
    ] = None,
    requests: Annotated[
        int,
        typer.Option(
            min=0,
            help="Split the forget prompts into so many requests, unlearned one after the other (0: one a source).",
        ),
    ] = 1,
    audit_n: Annotated[
        int,
        typer.Option(min=0, help="Samples of each prompt of a request and of former ones, after it (0: greedy alone)."),
    ] = 32,
    stop_memorised: Annotated[
        bool,
        typer.Option(
            "--stop-memorised",
            help="Stop once forget answers are extracted no better than those of --unseen were before (KUL).",
        ),
    ] = False,
    judge: Annotated[
        str,
        typer.Option(
            help="Calibrated RULE: core metric of the verdict; default another than the detector.",
            autocompletion=options.named("scorers"),
        ),
    ] = "",
    seed: options.Seed = 0,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    device: options.Device = "auto",
    dtype: Annotated[
        str,
        typer.Option(
            help="Precision of training: fp32, bf16 (weights too), or auto: bf16 products over float32 weights on a GPU and on a CPU "
            "that multiplies bf16 fast (AVX512-BF16, AMX; models from 10 million parameters on), else fp32."
        ),
    ] = "auto",
    device_map: options.DeviceMap = "",
    load_in: options.LoadIn = "",
    track: options.Track = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Train a model to forget some answers and keep others, with a method of the field."""
    from leakatk.guards.requests import requests_of
    from leakatk.prompts import Known, columns_from, load_prompts
    from leakatk.runs.tracking import check_trackers, tracked
    from leakatk.unlearning.methods import METHODS
    from leakatk.unlearning.stop import greedy_stop

    retrained, named = rule.check_options(
        method, base, preset, rule_preset, retrained=retrained, reference=reference, judge=judge, original=original,
        unseen=None if stop_memorised else unseen,
    )  # fmt: skip
    extras.check_stops(method, stop_memorised, stop_greedy, unseen, requests)
    check_trackers(track or [])
    if keep_adapter and (method == "rule" or requests != 1):
        raise InputError(
            "--keep-adapter is for one training: RULE's rounds and further requests go on from merged weights; leave it out."
        )
    fields = training_options.changes(
        lora_rank=lora_rank, lora_alpha=lora_alpha, lora_targets=lora_targets, warmup=warmup, schedule=schedule,
        weight_decay=weight_decay, gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    options.check_n(n)
    if method != "rule" and (wordings is not None or leak_wordings != "drawn" or rule_reference != "round" or chunk):
        raise InputError("--wordings, --leak-wordings, --rule-reference and --chunk only go with --method rule.")
    for name, value in (("--utility-floor", utility_floor), ("--target", target)):
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} must be between 0 and 1, got {value}.")
    checked = stop_greedy or stop_memorised or utility_floor > 0
    if checked and check_every < 1:
        raise InputError(f"--check-every must be at least 1 for a stop rule and --utility-floor, got {check_every}.")
    if method != "rule" and method not in METHODS:
        raise UnknownNameError("method", method, [*METHODS, "rule"])
    chosen, note = rule.based_on(named, base) if named is not None else (METHODS[base or method], "")
    if note:
        preset = "paper"  # of the training: the preset's, whatever the size of the model
        typer.echo(note, err=True)
    elif method == "rule" and steps is None and epochs is None:
        steps = 20

    asked: dict[str, Any] = {"rounds": rounds, "n": n, "max_new_tokens": max_new_tokens}
    if named is not None:  # what was not asked for is the preset's
        asked = {name: value for name, value in asked.items() if given(context, name)}
    asked |= {"wordings": wordings, "leak_wordings": leak_wordings, "reference": rule_reference, "chunk": chunk}
    sampled, tokens = rule.settings_of(named, target=target, **asked)
    context.params |= {"rounds": sampled.rounds, "n": sampled.n, "max_new_tokens": tokens}  # for config.toml
    asked_for, items, kept = inputs.prompts_of(
        benchmark, forget, retain, data, column=column, limit=limit, retain_limit=retain_limit
    )
    true = load_prompts(unseen, columns_from(column or ()), strict=False) if unseen is not None else []
    known = Known(
        tuple(items), tuple(kept),         refused=tuple(load_prompts(refused, columns_from(column or ()), strict=False)) if refused is not None else (),
        auxiliary=inputs.auxiliary_models(auxiliary or ()), margins=extras.margins(margins, [*items, *kept]),
    )  # fmt: skip
    rule.check_wordings(wordings, items)
    if retrained:
        sampled = rule.calibrated_settings(sampled, tokens, wordings, items)
    if (refused or auxiliary or margins or forget_as) and method == "rule":
        raise InputError(
            "--refused, --auxiliary, --margins and --forget-as are for a method of their own, not for --method rule."
        )
    known.need(f"Method {chosen.name}", *chosen.needs)
    extras.asking(forget_as, known, model)
    extras.writing(alternates, chosen, known)
    if "retain" in chosen.sides and not kept:
        raise InputError(f"Method {chosen.name} needs retain prompts: give --retain FILE.jsonl.")
    from leakatk.benchmarks.muse import is_passages
    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.knows import default_scorers

    detector = get_scorer(scorer or default_scorers(items)[0])
    if blind := extras.unscored(detector, items):
        typer.echo(
            f"Note: {detector.label} cannot score {len(blind)} of {len(items)} forget prompts (the first: {blind[0]}): stop rules "
            "and RULE do not see what they leak. Choose another --scorer.", err=True,
        )  # fmt: skip
    if template == "auto" and is_passages(benchmark):
        template = "text"
    from leakatk.cli.dry import memory_of

    args = inputs.template_args(template_arg or [])
    weights = "fp32" if dtype == "auto" else dtype  # small updates vanish in 16 bits
    loading: dict[str, Any] = {"device": device, "dtype": weights, "template": template, "system": system, "args": args}
    loading |= {"device_map": device_map, "load_in": load_in}
    training = trained_as(chosen, lora=lora, load_in=load_in, rule=method == "rule")
    need = memory_of(inputs.source(model, **loading), training) if dry_run else {}
    loaded = inputs.load(model, training=training, **loading)
    chosen, settings = configure(
        chosen, loaded, preset, param or [],
        {"learning_rate": lr, "max_steps": steps, "epochs": epochs, "forget_batch": batch, "retain_batch": batch,
         "gradient_accumulation": accumulate, "tuning": "lora" if lora else None,
         "checkpoint_every": checkpoint_every, "utility_floor": utility_floor,
         "dtype": dtype if given(context, "dtype") and dtype in ("fp32", "bf16") else None,
         "keep_adapter": keep_adapter or None, **fields},
        checked=checked, check_every=check_every,
    )  # fmt: skip
    training_options.check_adapter(fields, settings, [name for name, _ in loaded.model.named_modules()])
    job = rule.Rule(
        loaded, items, kept, chosen, settings, detector, out, settings=sampled, max_new_tokens=tokens, seed=seed,
        to_stderr=as_json, quiet=quiet, rehearsal=rehearsal if original else 0.0,
    )  # fmt: skip
    parts = requests_of(items, requests)
    requests = len(parts)
    if dry_run:
        from leakatk.cli.dry import says, says_memory, training_cost

        cost: dict[str, Any] = {**training_cost(loaded, parts[0], kept, chosen, settings), **need}
        more, lines = rule.expected(job, cost) if method == "rule" else ({}, [])
        if as_json:
            options.echo_json(cost | more)
            return
        each = f" a round, in up to {sampled.rounds} rounds" if method == "rule" else ""
        samples = f", then {audit_n} samples of each prompt of it and of former ones" if audit_n else ""
        each = f" for each of {requests} requests{samples}" if requests > 1 else each
        typer.echo(
            f"Would run {method} on {len(items):,} forget and {len(kept):,} retain prompts for at most "
            f"{cost['steps']:,} steps of {settings.forget_batch}+{settings.retain_batch}, lr {settings.learning_rate:g}, "
            f"{dict(chosen.params)}, into {out}: {says(cost)}{each} (roughly: from one forward pass timed here)."
        )
        for line in [*lines, *says_memory(need)]:
            typer.echo(line)
        return
    told = set(loaded.notes)
    # RULE holds OUT as a whole; without it training does.
    about = {"method": method, "base": base, "seed": seed, "model": model, **settings.as_dict(), **chosen.params}
    with (
        written_back(context, out),
        tracked(track or [], out, about),
        claim(out) if method == "rule" else nullcontext(),
    ):
        if retrained:
            if not scorer:  # the strictest metric judges, ROUGE-L detects
                job = replace(job, detector=get_scorer(default_scorers(items)[-1]))
            record = rule.run_calibrated(
                job, retrained, loading, judge=judge, original=original, unseen=true, floor=utility_floor
            )
        elif method == "rule":
            record = rule.run_rule(job, control=control)
        else:
            from leakatk.unlearning.trainer import unlearn

            put = extras.as_written(forget_as, items, known, model)
            wanted, other = extras.with_alternates(alternates, chosen, put, loaded, out, seed, known)
            told |= set(loaded.notes)
            more = {"settings": settings, "seed": seed, "known": known, "alternates": other}

            def check(prompts: Sequence[Prompt]) -> OnCheck | None:
                if stop_memorised:
                    return extras.memorised_check(loaded, prompts, true)
                if not checked:
                    return None
                at_most = 0.0 if stop_greedy else -1.0
                return greedy_stop(prompts, kept, detector, max_new_tokens=tokens, forget_at_most=at_most)

            if requests > 1:
                record = run_requests(
                    loaded, extras.grouped(parts, wanted), kept, chosen, out, detector, asked=parts, check=check,
                    max_new_tokens=tokens, n=audit_n, benchmark=benchmark, to_stderr=as_json, **more,
                )  # fmt: skip
            else:
                done = unlearn(loaded, wanted, kept, chosen, out=out, on_check=check(items), **more)
                record = done.as_dict()
                why = done.stopped or "all steps done"
                typer.echo(f"{chosen.name}: {done.says()} ({why}). Model: {out}", err=as_json)
    options.say_notes([note for note in loaded.notes if note not in told])
    if as_json:
        options.echo_json({**record, "prompts": asked_for})
    again = {"--benchmark": benchmark, "--forget": forget, "--retain": retain, "--data": data, "--system": system}
    again |= {"--template": template if template != "auto" else "", "--out": f"runs/{out.name}"}
    again |= {"--limit": str(limit or ""), "--retain-limit": str(retain_limit or "")}
    again |= {"--load-in": load_in, "--device-map": device_map}
    again |= {"--seed": str(seed + 1)} if method == "rule" else {}  # other samples than RULE has seen
    final = out / f"request-{requests:03d}" if requests > 1 else out
    words = [str(word) for name, value in again.items() if value for word in (name, value)]
    words += [word for spec in column or [] for word in ("--column", spec)]
    words += [word for spec in template_arg or [] for word in ("--template-arg", spec)]
    typer.echo(f"Next: {shlex.join(['leakatk', 'audit', str(final), *words])}", err=True)


def given(context: typer.Context, name: str) -> bool:
    """Whether an option was typed, or stands in a --config file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name != "DEFAULT"
