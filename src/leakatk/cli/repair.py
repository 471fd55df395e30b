"""leakatk repair: a model fine-tuned on ever more of the retain set, and how much of what was forgotten comes back."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config, written_back
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.unlearning.repair import Repaired

EXAMPLES = options.examples(
    "leakatk repair models/ga --benchmark world --percent 1,5,25,100 --out models/repaired",
    "leakatk repair models/ga --benchmark world --retrained models/retrained --out models/repaired",
)
FILE = "repair.json"


def add_to(app: typer.Typer) -> None:
    app.command("repair", short_help="Fine-tune on ever more of the retain set.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Model directory or hub id, after unlearning.")],
    out: Annotated[Path, typer.Option(help="Directory for the repaired models; the same command resumes.")],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts.")] = None,
    column: options.Columns = None,
    data: options.Data = None,
    percent: Annotated[
        str, typer.Option(help="Of the retain prompts, those to repair with: percents with commas.")
    ] = "1,5,25,100",
    retrained: Annotated[str, typer.Option(help="A model that never knew the forget set, repaired the same way.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps, the same for every percent.")] = 100,
    lr: Annotated[
        float | None, typer.Option(help="Learning rate; default 3e-4 below 20 million parameters, else 1e-5.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Retain answers a step.")] = 16,
    scorer: Annotated[
        str, typer.Option(help="Core metric; default by prompts.", autocompletion=options.named("scorers"))
    ] = "",
    max_new_tokens: Annotated[int, typer.Option(help="Longest greedy answer.")] = 64,
    seed: options.Seed = 0,
    template: options.TemplateKind = "auto",
    system: options.System = "",
    device: options.Device = "auto",
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Fine-tune copies of a model on parts of the retain set: how little of it repairs what unlearning broke, and does what was to be
    forgotten come back with it?
    """
    percents = _percents(percent)
    _, items, kept = inputs.prompts_of(benchmark, forget, retain, data, column=column)
    from leakatk.cli.preset import is_small
    from leakatk.files.strict_json import strict_json
    from leakatk.files.writing import write_atomic
    from leakatk.scorers.base import get_scorer
    from leakatk.scorers.knows import default_scorers
    from leakatk.unlearning.repair import parts, repair_curve
    from leakatk.unlearning.settings import TrainSettings

    shown = parts(kept, percents, seed)  # what is wrong with them is said before a model is loaded
    if dry_run:
        counts = {f"{percent:g}": len(some) for percent, some in shown.items()}
        models, asked = 2 if retrained else 1, (len(items) + len(kept)) * (len(shown) + 1)
        if as_json:
            options.echo_json(
                {"prompts": counts, "models": models, "steps": models * steps * len(shown), "asked": models * asked}
            )
            return
        typer.echo(
            f"Would train {models} x {len(shown)} models for {steps:,} steps of {batch} answers each, on "
            + ", ".join(f"{count} ({percent}%)" for percent, count in counts.items())
            + f" retain prompts, and ask {models * asked:,} prompts greedily, into {out}."
        )
        return
    judge = get_scorer(scorer or default_scorers(items)[0])
    curves: dict[str, list[dict[str, Any]]] = {}
    with written_back(context, out):
        for name, source in {"model": model, **({"retrained": retrained} if retrained else {})}.items():
            loaded = inputs.load(source, device=device, dtype="fp32", template=template, system=system)
            rate = lr if lr is not None else 3e-4 if is_small(loaded) else 1e-5
            settings = TrainSettings(learning_rate=rate, max_steps=steps, retain_batch=batch)
            typer.echo(f"{source}: mean greedy {judge.label}", err=as_json)
            points = repair_curve(
                loaded, items, kept, percents, settings=settings, scorer=judge, max_new_tokens=max_new_tokens, seed=seed,
                out=out / name, on_point=lambda point: typer.echo(said(point), err=as_json), quiet=quiet,
            )  # fmt: skip
            curves[name] = [point.as_dict() for point in points]
        record = {
            "scorer": judge.label,
            "steps": steps,
            "prompts": {"forget": len(items), "retain": len(kept)},
            "curves": curves,
        }
        write_atomic(out / FILE, strict_json(record, indent=2) + "\n")
    if as_json:
        options.echo_json(record)
    else:
        typer.echo(
            f"Written: {out / FILE}. Sampling says more: leakatk audit {out}/model/percent-{percents[-1]:g}", err=True
        )


def _percents(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--percent must be numbers with commas between them, got {text!r}.") from None


def said(point: Repaired) -> str:
    """A line of the curve."""
    cells = [
        f"{name} {'-' if math.isnan(value) else format(value, '.3f')}"
        for name, value in (("forget", point.forget), ("retain, shown", point.shown), ("not shown", point.not_shown))
    ]
    unscored = f"; {point.unscored} prompts have no score and are in no mean" if point.unscored else ""
    return f"  {point.percent:>5g}% ({point.prompts} prompts): {', '.join(cells)}{unscored}"
