"""leakatk plan: how many samples a question needs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from leakatk.cli import options
from leakatk.cli.config import Config
from leakatk.errors import InputError

EXAMPLES = options.examples(
    "leakatk plan --k 128 --half-width 0.01 --prompts 400",
    "leakatk plan --k 128 --certify 0.005 --prompts 400 --tokens 60",
)


def add_to(app: typer.Typer) -> None:
    app.command("plan", short_help="How many samples a question needs, and their cost.", epilog=EXAMPLES)(run)


def run(
    k: Annotated[int, typer.Option("--k", help="The k of leak@k.")],
    half_width: Annotated[float | None, typer.Option(help="Wanted half width of the interval over samples.")] = None,
    certify: Annotated[float | None, typer.Option(help="Bound to certify on leak@k if nothing leaks.")] = None,
    prompts: Annotated[int, typer.Option(help="Number of forget prompts.")] = 400,
    level: Annotated[float, typer.Option(help="Level of the interval or bound.")] = 0.95,
    pilot: Annotated[Path | None, typer.Option(help="An audited run whose leak profile to plan from.")] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens an answer has on average, for the cost.")] = None,
    as_json: options.AsJson = False,
    config: Config = None,
) -> None:
    """Say how many samples a prompt are needed, and what they cost in tokens."""
    if (half_width is None) == (certify is None):
        raise InputError("Give --half-width or --certify, one of them: what is to be planned for?")
    if prompts < 1:
        raise InputError(f"--prompts must be at least 1, got {prompts}.")
    from leakatk.estimate.certify import plan

    scores = None
    if pilot is not None:
        from leakatk.runs.store import Run

        with options.reading(pilot):
            run = Run.open(pilot)
            names = run.score_names()
            if not names:
                raise InputError(f"{pilot} has no scores; run `leakatk score {pilot}` first.")
            first = next(iter(run.results()["scorers"])) if (pilot / "results.json").exists() else names[0]
            scores = run.scores(first)
    found = plan(
        k, m=prompts, half_width=half_width, certify=certify, level=level, pilot=scores, tokens_per_sample=tokens
    )
    if as_json:
        options.echo_json(asdict(found))
        return
    typer.echo(
        f"{found.n:,} samples a prompt: {found.m:,} x {found.n:,} = {found.samples:,} samples (from {found.basis})."
    )
    if found.half_width is not None:
        typer.echo(f"Expected half width of leak@{k} over samples: {found.half_width:.4f} ({level:.0%}).")
        typer.echo(f"If the prompts are a sample too, {found.half_width_prompts:.4f} remains whatever n is.")
    else:
        typer.echo(f"If none of them leaks, leak@{k} <= {certify} is certified at {level:.0%}.")
    if found.tokens is not None:
        typer.echo(f"About {found.tokens:,} tokens.")
