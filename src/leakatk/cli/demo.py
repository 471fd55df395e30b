"""leakatk demo: the whole story in a few minutes on a laptop CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config, written_back
from leakatk.errors import InputError

EXAMPLES = options.examples(
    "leakatk demo",
    "leakatk demo --seeds 3 --out demo-3",
    "leakatk demo --real",
)

# The whole demo over its training alone, as we measured it on two cores.
BESIDE_TRAINING = {"tokens": 2.1, "seconds": 2.3, "bytes": 6.3}


def add_to(app: typer.Typer) -> None:
    app.command("demo", short_help="The whole story in two minutes on a laptop CPU.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    out: Annotated[
        Path | None,
        typer.Option(help="Directory for models, runs and report.html; default demo, demo-real with --real."),
    ] = None,
    real: Annotated[
        bool, typer.Option("--real", help="On a pre-trained model, which is fetched; says first what it takes here.")
    ] = False,
    model: Annotated[str, typer.Option(help="With --real: another model than smollm2-135m.")] = "",
    data: options.Data = None,
    seeds: Annotated[int, typer.Option(help="Worlds to build; 3 takes three times as long and says much more.")] = 1,
    workers: Annotated[int, typer.Option(min=1, help="Processes; one a core is best.")] = 2,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    dry_run: options.DryRun = False,
    config: Config = None,
) -> None:
    """Train a small world, unlearn it four ways, sample every model; print the table and write OUT/report.html."""
    from leakatk import progress

    out = out or Path("demo-real" if real else "demo")
    context.params["out"] = out  # for config.toml
    if real:
        if seeds != 1:
            raise InputError("--seeds is for the small demo; --real is one seed.")
        _real(context, out, model, data, workers, dry_run=dry_run, as_json=as_json)
        return
    if model or data:
        raise InputError("--model and --data go with --real.")
    from leakatk.report.assemble import show
    from leakatk.report.export import to_json
    from leakatk.small.demo import SAMPLES, audits_of, demo, demo_content, jobs_of

    if dry_run:
        from leakatk.cli.dry import says, small_training_cost
        from leakatk.cli.train_small import chosen

        names = [job.name for job in jobs_of(out, 0)]
        training = small_training_cost(chosen("world", None, 0, 0, 0)[1], seed=0)
        cost = {name: seeds * factor * training[name] for name, factor in BESIDE_TRAINING.items()}
        if as_json:
            options.echo_json({"jobs": [seeds, names], **cost})
            return
        typer.echo(
            f"Would run {seeds} x {len(names)} jobs in {out}, {workers} at a time, and skip what is finished: "
            f"{', '.join(names)}. An audit draws {SAMPLES} answers to each prompt. In all {says(cost)} (roughly: from a few steps of "
            "the training timed here)."
        )
        return
    with written_back(context, out):
        page = demo(out, seeds=seeds, workers=workers, quiet=progress.silent)
    content = demo_content(out, seeds, {})
    if as_json:
        typer.echo(to_json(content, prompts=False))
        return
    show(content.tables[0] if seeds > 1 else None, audits_of(out, 0))
    typer.echo("\n" + content.verdict + "\n")
    for note in content.notes:
        typer.echo(note + "\n")
    typer.echo(f"Report: {page}")


def _real(
    context: typer.Context, out: Path, model: str, data: str | None, workers: int, *, dry_run: bool, as_json: bool
) -> None:
    """The demo on a pre-trained model."""
    from leakatk import progress
    from leakatk.files.writing import read_kept
    from leakatk.report.assemble import show
    from leakatk.report.export import to_json
    from leakatk.small import realdemo
    from leakatk.small import realdemo_plan as plans
    from leakatk.small.realdemo_page import audits_of, content

    where = inputs.data_of("tofu", data)
    if dry_run:
        source = plans.find_source(where)
        plan = plans.Plan(model or plans.MODEL, source, where, plans.scale_for(source))
        jobs = realdemo.jobs_of(out, 0, plan)
        if as_json:
            options.echo_json({"jobs": [job.name for job in jobs], "model": plan.model, "source": plan.source})
            return
        typer.echo(
            f"Would fetch {plan.model} where it is not here, time a few steps, say what it takes here, and then run {len(jobs)} jobs in {out}, "
            f"{workers} at a time, on {'TOFU' if plan.source == 'tofu' else 'invented people'}: {', '.join(job.name for job in jobs)}."
        )
        return
    with written_back(context, out):
        page = realdemo.real_demo(out, model=model or plans.MODEL, data=where, workers=workers, quiet=progress.silent)
    begun = read_kept(out / plans.MARKER)
    plan = plans.Plan(begun["model"], begun["source"], where, plans.scale_for(begun["source"]))
    found = content(out, plan, 0, read_kept(out / "spent.json"))
    if as_json:
        typer.echo(to_json(found, prompts=False))
        return
    show(None, audits_of(out))
    typer.echo("\n" + found.verdict + "\n")
    for note in found.notes:
        typer.echo(note + "\n")
    typer.echo(f"Report: {page}")
