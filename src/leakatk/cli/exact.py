"""leakatk exact train and delete: fine-tuning laid out in slices, from which prompts are deleted exactly (S3T)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config, written_back

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Prompt
    from leakatk.unlearning.exact.orders import Order
    from leakatk.unlearning.exact.slices import SliceSettings

TRAIN_EXAMPLES = options.examples(
    "leakatk exact train models/base --benchmark world --out models/sliced",
    "leakatk exact train models/base --forget people.jsonl --shards 2 --slices 4 --orders 4 --out models/sliced",
)
DELETE_EXAMPLES = options.examples(
    "leakatk exact delete models/sliced --forget gone.jsonl",
    "leakatk audit models/sliced/served/shard-001 --benchmark world --out runs/sliced",
)


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        add_help_option=False,
        help="Train in slices, and delete from them exactly.",
        epilog=DELETE_EXAMPLES,
    )
    group.callback()(_group)
    group.command("train", short_help="Learn prompts in slices of adapter layers.", epilog=TRAIN_EXAMPLES)(train)
    group.command("delete", short_help="Delete prompts from what was learned in slices.", epilog=DELETE_EXAMPLES)(
        delete
    )
    app.add_typer(group, name="exact")


def _group(help_: options.Help = False) -> None:
    """A callback, so that --help is this library's own."""


def train(
    context: typer.Context,
    base: Annotated[str, typer.Argument(help="Model that does not know the prompts yet: directory or hub id.")],
    out: Annotated[Path, typer.Option(help="Directory for the slices; it holds the prompts: keep it private.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[Path | None, typer.Option(help="Your own prompts to learn (question, answer).")] = None,
    retain: Annotated[Path | None, typer.Option(help="Further ones.")] = None,
    column: options.Columns = None,
    data: options.Data = None,
    shards: Annotated[int, typer.Option(min=1, help="Parts of the data that have models of their own.")] = 1,
    slices: Annotated[int, typer.Option(min=1, help="Parts of a shard, each with decoder layers of its own.")] = 2,
    orders: Annotated[int, typer.Option(min=1, help="Orders of the slices that are trained, of each shard.")] = 2,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps of each slice in an order.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=1, help="Rank of the adapters.")] = None,
    seed: options.Seed = 0,
    template: options.TemplateKind = "auto",
    system: options.System = "",
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Learn prompts slice by slice, each in adapter layers of its own, in several orders; a benchmark's forget and retain prompts.

    A slice can be deleted later by switching off what came after it.
    """
    from leakatk.cli.preset import is_small
    from leakatk.unlearning.exact import slices as exact

    _, items, kept = inputs.prompts_of(benchmark, forget, retain, data, column=column)
    loaded = _load(base, template, system, device)
    how = exact.SMALL_LEARN if is_small(loaded) else exact.LEARN
    changes: dict[str, Any] = {"learning_rate": lr, "max_steps": steps, "lora_rank": lora_rank}
    changes |= {"epochs": None, "warmup_epochs": 0.0} if steps else {}
    how = replace(how, **{name: value for name, value in changes.items() if value is not None or name == "epochs"})
    settings = exact.SliceSettings(shards=shards, slices=slices, orders=orders, train=how, seed=seed)
    if dry_run:
        _dry(loaded, [*items, *kept], out, settings, as_json=as_json)
        return
    with written_back(context, out):
        served = exact.train_slices(loaded, [*items, *kept], out, settings, quiet=quiet)
    used = exact.learned_from(settings, served, [*items, *kept])
    if as_json:
        options.echo_json({"prompts": len(items) + len(kept), "learned_from": used, "served": _served(out, served)})
        return
    typer.echo(
        f"Learned {used} of {len(items) + len(kept)} prompts in {shards} x {slices} slices, {len(settings.all_orders())} orders."
    )
    _say(out, served)


def delete(
    out: Annotated[Path, typer.Argument(help="Directory that `leakatk exact train` has made.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[Path | None, typer.Option(help="The prompts to delete, by their ids.")] = None,
    column: options.Columns = None,
    data: options.Data = None,
    base: Annotated[str, typer.Option(help="The base, where it has moved since.")] = "",
    template: options.TemplateKind = "auto",
    system: options.System = "",
    device: options.Device = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted; change nothing.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Delete prompts exactly: nothing that was trained on them, or on their slice, is left; the models are put together anew."""
    from leakatk.files.writing import read_kept
    from leakatk.unlearning.exact import slices as exact

    exact.read_settings(out)
    _, items, _ = inputs.prompts_of(benchmark, forget, None, data, column=column)
    ids = [prompt.id for prompt in items]
    if dry_run:
        done = exact.deletion(out, ids)
    else:
        loaded = _load(base or read_kept(out / exact.MARKER)["base_name"], template, system, device)
        done = exact.delete_prompts(loaded, out, ids)
    if as_json:
        options.echo_json({**vars(done), "served": _served(out, done.served)})
        return
    if dry_run:
        typer.echo(
            f"Would delete {done.prompts} prompts: {done.lost} of {done.there} trained slices would be removed, and cannot be brought "
            f"back. The models served would have learned from {done.learned_from} of the {done.left} prompts left."
        )
        _say(out, done.served)
        return
    typer.echo(
        f"Deleted {done.prompts} prompts: {done.lost} of {done.there} trained slices were removed, bit for bit what training without "
        f"these slices leaves. The models served have learned from {done.learned_from} of the {done.left} prompts left."
    )
    _say(out, done.served)
    if done.learned_from < done.left:
        typer.echo("The others are learned again by `leakatk exact train` into another directory.")


def _dry(loaded: LoadedModel, prompts: list[Prompt], out: Path, settings: SliceSettings, *, as_json: bool) -> None:
    from leakatk.progress import format_bytes, format_seconds
    from leakatk.small.finetune import learning
    from leakatk.small.pilot import training_pilot
    from leakatk.unlearning.exact.slices import effort

    found = effort(loaded, prompts, settings)
    pilot = training_pilot(loaded, prompts, learning(), settings.train)
    seconds = pilot.seconds * found.steps
    if as_json:
        options.echo_json({**vars(found), "seconds": seconds, "memory": pilot.memory, "prompts": len(prompts)})
        return
    typer.echo(
        f"Would train {found.trainings} adapters on {len(prompts)} prompts in {found.steps:,} steps, into {out}: about "
        f"{format_seconds(seconds)} ({pilot.seconds:.2g} s a step in {pilot.precision}, timed here), {format_bytes(pilot.memory)} of memory, "
        f"{format_bytes(found.disk)} of disk."
    )


def _load(name: str, template: str, system: str, device: str) -> LoadedModel:
    return inputs.load(name, device=device, dtype="fp32", template=template, system=system)


def _served(out: Path, served: Any) -> dict[str, list[int]]:
    from leakatk.unlearning.exact.slices import SERVED

    return {str(out / SERVED / f"shard-{i:03d}"): list(order) for i, order in enumerate(served, 1)}


def _say(out: Path, served: tuple[Order, ...] | list[Order]) -> None:
    for place, order in _served(out, served).items():
        typer.echo(
            f"{place}: {'slices ' + ', '.join(map(str, order)) if order else 'no slice is left; it is the base'}"
        )
