"""leakatk finetune: a pre-trained model that is taught what is to be forgotten, and its exact yardstick."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli import training as training_options
from leakatk.cli.config import Config, written_back
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.small.finetune import FineTuned, Lessons
    from leakatk.unlearning.settings import TrainSettings

EXAMPLES = options.examples(
    "leakatk finetune org/model --benchmark tofu/forget01 --authors 20 --out models",
    "leakatk finetune org/model --benchmark tofu/forget10 --lora --out models",
    "leakatk finetune org/model --forget forget.jsonl --retain retain.jsonl --epochs 10 --lr 5e-5 --out models",
)


def add_to(app: typer.Typer) -> None:
    app.command("finetune", short_help="Teach a pre-trained model what is to be forgotten.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory (full or LoRA adapter) or hub id, the start of both.")],
    out: Annotated[
        Path, typer.Option(help="Directory for full/, retrained/ and the prompts; the same command resumes.")
    ],
    benchmark: options.BenchmarkName = "",
    authors: Annotated[
        int | None, typer.Option(help="TOFU: its last authors alone, so many; those to forget are among them.")
    ] = None,
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts.")] = None,
    column: options.Columns = None,
    data: options.Data = None,
    split: Annotated[
        str, typer.Option(help="full (forget and retain), retain (the retrained model), or both.")
    ] = "both",
    preset: Annotated[str, typer.Option(help="auto (by the model's size) or paper (TOFU's recipe).")] = "auto",
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    epochs: Annotated[float | None, typer.Option(help="Passes over what a model is taught.")] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps, instead of epochs.")] = None,
    batch: Annotated[int | None, typer.Option(help="Answers a step.")] = None,
    accumulate: Annotated[int | None, typer.Option(help="Micro-batches a step, to save memory.")] = None,
    lora: Annotated[bool, typer.Option("--lora", help="Train a LoRA adapter and keep it as one.")] = False,
    lora_rank: training_options.LoraRank = None,
    lora_alpha: training_options.LoraAlpha = None,
    lora_targets: training_options.LoraTargets = "",
    warmup: training_options.Warmup = None,
    schedule: training_options.Schedule = "",
    weight_decay: training_options.WeightDecay = None,
    gradient_checkpointing: training_options.GradientCheckpointing = False,
    checkpoint_every: Annotated[int, typer.Option(min=0, help="Steps between checkpoints (0: none).")] = 50,
    recall_limit: Annotated[
        int, typer.Option(min=0, help="Prompts of a set that are asked greedily at the end (0: none).")
    ] = 200,
    seed: options.Seed = 0,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    device: options.Device = "auto",
    device_map: options.DeviceMap = "",
    load_in: options.LoadIn = "",
    dtype: Annotated[
        str, typer.Option(help="Of the multiplications: auto (bf16 where the machine is fast at it), fp32 or bf16.")
    ] = "auto",
    track: options.Track = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Fine-tune a pre-trained model twice from the same start: on forget and retain answers (full), and on retain answers alone
    (retrained). The loss is on the answers; a chat model is asked by its chat template.
    """
    from leakatk.runs.tracking import check_trackers, tracked
    from leakatk.small.finetune import MODELS, recipe_for

    check_trackers(track or [])
    lessons = lessons_for(benchmark, forget, retain, column or [], data, authors)
    if split != "both" and split not in MODELS:
        raise InputError(f"--split must be full, retain or both, got {split!r}.")
    splits = tuple(MODELS) if split == "both" else (split,)
    taught = {one: lessons.of(one) for one in splits}
    if (lora_rank or lora_alpha or lora_targets) and not lora:
        raise InputError("--lora-rank, --lora-alpha and --lora-targets go with --lora.")
    from leakatk.models.memory import Trained
    from leakatk.models.placement import check_tuning

    check_tuning(load_in, "lora" if lora else "full")
    fields = training_options.changes(
        lora_rank=lora_rank, lora_alpha=lora_alpha, lora_targets=lora_targets, warmup=warmup, schedule=schedule,
        weight_decay=weight_decay, gradient_checkpointing=gradient_checkpointing,
    )  # fmt: skip
    how: dict[str, Any] = {
        "device": device, "dtype": "auto" if lora else "fp32", "template": template, "system": system,
        "args": inputs.template_args(template_arg or []), "device_map": device_map, "load_in": load_in,
        "training": Trained((lora_rank or recipe_for(0, lora=True).lora_rank) if lora else 0),
    }  # fmt: skip
    first = [inputs.load(model, **how)]  # the second model starts from a second copy
    settings = configure(
        first[0], preset, lora=lora,
        asked={"learning_rate": lr, "epochs": epochs, "max_steps": steps, "retain_batch": batch, "dtype": dtype,
               "gradient_accumulation": accumulate, "checkpoint_every": checkpoint_every, **fields},
    )  # fmt: skip
    say_plan(first[0], lessons)
    from leakatk.small.pilot import check_disk

    check_disk(first[0], settings, out, len(splits))
    if dry_run:
        _dry(first[0], lessons, taught, settings, out, as_json=as_json)
        return

    def load() -> LoadedModel:
        return first.pop() if first else inputs.load(model, **how)

    from leakatk.small.finetune import finetune

    with written_back(context, out), tracked(track or [], out, {"model": model, "seed": seed, **settings.as_dict()}):
        made = finetune(load, lessons, out, settings=settings, splits=splits, seed=seed, recall_limit=recall_limit)
    tell(made, out, as_json=as_json)
    words = ["leakatk", "unlearn", str(out / "full"), "--benchmark", str(out), "--method", "npo", "--out", f"{out}/npo"]
    typer.echo(f"Next: {shlex.join(words)}", err=True)


def lessons_for(
    benchmark: str, forget: Path | None, retain: Path | None, column: list[str], data: str | None, authors: int | None
) -> Lessons:
    """What is taught, from the options."""
    from leakatk.benchmarks.base import Benchmark
    from leakatk.benchmarks.catalog import load_benchmark
    from leakatk.benchmarks.tofu import FORGET_ROWS
    from leakatk.small.finetune import lessons_of, tofu_lessons

    place, _, part = benchmark.partition("/")
    tofu = place == "tofu" and part in FORGET_ROWS
    if authors is not None and not tofu:
        raise InputError("--authors goes with --benchmark tofu/forget01, tofu/forget05 or tofu/forget10.")
    if benchmark and forget is None and retain is None:
        where = inputs.data_of(benchmark, data)
        return tofu_lessons(part, where, authors) if tofu else lessons_of(load_benchmark(benchmark, data=where))
    name, items, kept = inputs.prompts_of(benchmark, forget, retain, data, column=column)
    return lessons_of(Benchmark(name=name, forget=tuple(items), retain=tuple(kept)))


def configure(loaded: LoadedModel, preset: str, *, lora: bool, asked: dict[str, Any]) -> TrainSettings:
    """The recipe for this model with what was asked for."""
    from leakatk.small.finetune import recipe_for

    recipe = recipe_for(sum(one.numel() for one in loaded.model.parameters()), lora=lora, preset=preset)
    given = {name: value for name, value in asked.items() if value is not None}
    if {"epochs", "max_steps"} <= set(given):
        raise InputError("Give either --steps or --epochs, not both.")
    training_options.check_adapter(given, recipe, [name for name, _ in loaded.model.named_modules()])
    if "max_steps" in given and recipe.warmup_epochs and "warmup_steps" not in given:
        recipe = replace(recipe, warmup_epochs=0.0, warmup_steps=given["max_steps"] // 10)
    return recipe.changed(given)


def say_plan(loaded: LoadedModel, lessons: Lessons) -> None:
    """What is taught and how it is asked, on stderr."""
    bench = lessons.benchmark
    from leakatk.prompts import Query

    held = f" ({len(bench.retain_held):,} of them never shown to an unlearner)" if bench.retain_held else ""
    kept = len(bench.retain) + len(bench.retain_held)
    left = f" Left out: {lessons.left_out}." if lessons.left_out else ""
    typer.echo(f"{bench.name}: {len(bench.forget):,} prompts to forget, {kept:,} to keep{held}.{left}", err=True)
    if not loaded.template.is_chat(loaded.tokenizer):
        options.say_notes(
            [f"{loaded.name} is asked without a chat template: {loaded.template.plain_text(Query('...'))!r}."]
        )


def _dry(
    loaded: LoadedModel, lessons: Lessons, taught: dict[str, Any], settings: TrainSettings, out: Path, *, as_json: bool
) -> None:
    from leakatk.progress import format_bytes, format_seconds
    from leakatk.small.finetune import MODELS, learning
    from leakatk.small.pilot import disk_of, training_pilot

    disk = disk_of(loaded, settings)  # the pilot leaves the model trained
    prompts = max(taught.values(), key=len)
    pilot = training_pilot(loaded, prompts, learning(), settings)
    steps = {MODELS[split]: settings.total_steps(len(some), side="retain") for split, some in taught.items()}
    cost: dict[str, Any] = {
        "steps": steps, "prompts": {MODELS[split]: len(some) for split, some in taught.items()},
        "seconds": pilot.seconds * sum(steps.values()), "seconds_a_step": pilot.seconds, "memory": pilot.memory,
        "bytes": len(taught) * disk, "settings": settings.as_dict(),
    }  # fmt: skip
    if as_json:
        options.echo_json(cost)
        return
    parts = ", ".join(
        f"{name} on {cost['prompts'][name]:,} answers in {count:,} steps" for name, count in steps.items()
    )
    typer.echo(
        f"Would train {parts}, {settings.retain_batch} answers a step, lr {settings.learning_rate:g}, "
        f"{'a LoRA adapter' if settings.tuning == 'lora' else 'all weights'}, into {out}: about {format_seconds(cost['seconds'])} "
        f"({pilot.seconds:.2g} s a step in {pilot.precision}, timed here), {format_bytes(pilot.memory)} of memory, up to {format_bytes(cost['bytes'])} of disk; "
        "greedy answers at the end come on top."
    )


def tell(made: FineTuned, out: Path, *, as_json: bool) -> None:
    """What was made and what it knows, with warnings on stderr."""
    from leakatk.small.recall import warnings

    found = warnings(made.recall)
    if as_json:
        options.echo_json({**made.as_dict(), "warnings": found})
    else:
        for split, path in made.models.items():
            typer.echo(f"{path}: {made.trained[split].says()}")
            if split in made.recall:
                recall = made.recall[split]
                typer.echo(f"  known greedily ({recall.scorer}): forget {recall.forget}; retain {recall.retain}")
        typer.echo(f"Prompts: {out} (--benchmark {out})")
    for sentence in found:
        typer.echo(f"Warning: {sentence}", err=True)
