"""leakatk train-small: a small model from scratch, full and retrained, where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from leakatk.cli import options
from leakatk.cli.config import Config, write_config

EXAMPLES = options.examples(
    "leakatk train-small --benchmark world --out models",
    "leakatk train-small --benchmark tofu --data tofu --authors 20 --out models",
)


def add_to(app: typer.Typer) -> None:
    app.command("train-small", short_help="Small models from scratch, where the truth is known.", epilog=EXAMPLES)(run)


def run(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Directory for full/ and retrained/.")],
    benchmark: Annotated[
        str,
        typer.Option(
            help="world, contracts, multi-hop, frequency, corruption (generated), tofu (its last authors), or any other with retain prompts."
        ),
    ] = "world",
    data: options.Data = None,
    authors: Annotated[int, typer.Option(help="TOFU authors to memorise; the last ones are to be forgotten.")] = 20,
    forget_authors: Annotated[int, typer.Option(help="TOFU authors to forget: 2 (forget01), 10 or 20.")] = 2,
    seed: options.Seed = 0,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Train a small Llama from scratch twice: on everything (full), and without what is to be forgotten (retrained)."""
    from transformers.utils import logging

    from leakatk.benchmarks.generators import GENERATORS

    logging.disable_progress_bar()  # ours says what is going on
    data = options.data_of(benchmark, data)
    if benchmark == "tofu":
        from leakatk.benchmarks.tofusmall import train_tofu_small

        paths = train_tofu_small(
            data, out, authors=authors, forget_authors=forget_authors, seed=seed, quiet=quiet
        ).models
    elif benchmark == "corruption":
        from leakatk.benchmarks.generators import make_corruption
        from leakatk.benchmarks.smallmodel import train_corruption

        paths = train_corruption(make_corruption(seed), out, seed=seed, quiet=quiet)
    elif benchmark in GENERATORS:
        from leakatk.benchmarks.smallmodel import train_generated

        paths = train_generated(GENERATORS[benchmark](seed), out, seed=seed, quiet=quiet)
    else:
        from leakatk.benchmarks.catalog import load_benchmark
        from leakatk.benchmarks.generators import generated_from
        from leakatk.benchmarks.smallmodel import TEXT_RECIPE, train_generated

        made = generated_from(load_benchmark(benchmark, data=data))
        paths = train_generated(made, out, recipe=TEXT_RECIPE, seed=seed, quiet=quiet)
    write_config(context, out)
    prompts = [str(path) for path in sorted(out.glob("*.jsonl"))]
    if as_json:
        options.echo_json({"prompts": prompts, "full": str(paths.full), "retrained": str(paths.retrained)})
        return
    typer.echo(f"Prompts: {', '.join(prompts)}")
    typer.echo(f"Full model: {paths.full}\nRetrained without the forget data: {paths.retrained}")
