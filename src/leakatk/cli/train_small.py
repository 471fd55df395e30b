"""leakatk train-small: a small model from scratch, full and retrained, where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakatk.cli import inputs, options
from leakatk.cli.config import Config, written_back

if TYPE_CHECKING:
    from leakatk.benchmarks.base import Benchmark
    from leakatk.small.train import Training

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
            help="A generated one (leakatk benchmarks), tofu (its last authors), or any other with retain prompts."
        ),
    ] = "world",
    data: options.Data = None,
    authors: Annotated[int, typer.Option(help="TOFU authors to memorise; the last ones are to be forgotten.")] = 20,
    forget_authors: Annotated[int, typer.Option(help="TOFU authors to forget: 2 (forget01), 10 or 20.")] = 2,
    seed: options.Seed = 0,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    config: Config = None,
) -> None:
    """Train a small Llama from scratch twice: on everything (full), and without what is to be forgotten (retrained).

    What an interrupted command finished is not trained again.
    """
    from leakatk.small.train import save_benchmark, train

    found, training = chosen(benchmark, inputs.data_of(benchmark, data), authors, forget_authors, seed)
    if dry_run:
        from leakatk.cli.dry import says, small_training_cost

        cost = small_training_cost(training, seed=seed)
        if as_json:
            options.echo_json(cost)
            return
        typer.echo(
            f"Would train {', '.join(stage.name for stage in training.stages)} from scratch ({cost['parameters']:,} parameters each, "
            f"{cost['steps']:,} steps in all at most) and write them with their prompts into {out}: {says(cost)} "
            "(from a few steps timed here)."
        )
        return
    with written_back(context, out):
        paths = train(training, out, seed=seed)
        unsaved = save_benchmark(found, out)
    prompts = [str(path) for path in sorted(out.glob("*.jsonl"))]
    if as_json:
        options.echo_json(
            {"prompts": prompts, "full": str(paths.full), "retrained": str(paths.retrained), "not_in_files": unsaved}
        )
        return
    typer.echo(f"Prompts: {', '.join(prompts)}")
    if unsaved:
        typer.echo(f"Not in files, which hold no turns: {', '.join(unsaved)}; `--benchmark {benchmark}` has them.")
    typer.echo(f"Full model: {paths.full}\nRetrained without the forget data: {paths.retrained}")


def chosen(
    benchmark: str, data: str | None, authors: int, forget_authors: int, seed: int
) -> tuple[Benchmark, Training]:
    """The prompts, and what is trained on which of them."""
    from leakatk.benchmarks.worlds.generators import GENERATORS, generated_from, make_corruption
    from leakatk.small.train import TEXT_RECIPE, WORLD_RECIPE, corruption_training, pair_training, staged_training

    if benchmark == "corruption":
        corrupted = make_corruption(seed)
        return corrupted.benchmark, corruption_training(corrupted)
    recipe = WORLD_RECIPE
    if benchmark == "tofu":
        from leakatk.small.tofusmall import recipe_for, tofu_small

        made, recipe = tofu_small(data, authors=authors, forget_authors=forget_authors), recipe_for(authors)
    elif benchmark in GENERATORS:
        made = GENERATORS[benchmark](seed)
    else:
        from leakatk.benchmarks.catalog import load_benchmark

        made, recipe = generated_from(load_benchmark(benchmark, data=data)), TEXT_RECIPE
    if made.stages:
        return made.benchmark, staged_training(made.pretraining, made.stages, made.stages_retained, recipe)
    training = pair_training(
        made.pretraining, made.full, made.retained, recipe, pretraining_retained=made.pretraining_retained
    )
    return made.benchmark, training
