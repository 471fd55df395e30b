"""leakatk push: a model or its audits to the Hugging Face hub, with a card that says what leaks; never what was to be forgotten."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.report.audited import Audited
    from leakatk.report.publishing import File

EXAMPLES = options.examples(
    "leakatk push models/npo runs/npo --to ada/my-model-npo --dry-run",
    "leakatk push runs/npo --to ada/my-model-npo --pull-request",
    "leakatk push models/npo runs/npo --original runs/full --to ada/my-model-npo",
)


def add_to(app: typer.Typer) -> None:
    app.command("push", short_help="Send a model or audits to the hub, with a card.", epilog=EXAMPLES)(run)


def run(
    places: Annotated[
        list[Path], typer.Argument(help="Directory of a model (or adapter), and of its audits, in any order.")
    ],
    to: Annotated[
        str, typer.Option("--to", metavar="USER/NAME", help="Repository on the hub; made if it is not there.")
    ],
    original: Annotated[
        Path | None, typer.Option(help="Audit of the model before unlearning: a warning says if nothing was forgotten.")
    ] = None,
    dataset: Annotated[
        str, typer.Option(help="Data set on the hub that the numbers are of; default the benchmark's own.")
    ] = "",
    base_model: Annotated[str, typer.Option(help="Model on the hub that this one was made from.")] = "",
    license: Annotated[str, typer.Option(help="License of the model, such as apache-2.0.")] = "",
    with_prompts: Annotated[
        bool,
        typer.Option(
            "--with-prompts", help="Also send the forget questions, true answers and samples. Never by default."
        ),
    ] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public; default private.")] = False,
    pull_request: Annotated[
        bool, typer.Option("--pull-request", help="Open a pull request, for a repository of somebody else.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Where the card is written first; default push/NAME.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Write the card here, list the files, send nothing.")
    ] = False,
    as_json: options.AsJson = False,
    config: Config = None,
) -> None:
    """Send a model, an adapter or audits to the Hugging Face hub.

    The card holds the leak with its intervals, the protocol and the command. Questions and true answers stay here, and what is
    sent is searched for them.
    """
    from leakatk.files.writing import write_atomic
    from leakatk.models.upload import check_repository, upload
    from leakatk.report.audited import read_audits
    from leakatk.report.model_card import About, card
    from leakatk.report.publishing import File, check_clean, like_original, model_files, run_files

    check_repository(to)
    model, runs = sorted_places(places)
    with options.reading(*runs, *([original] if original else [])):
        audits = read_audits(runs)
        [before] = read_audits([original]) if original else [None]
    files, left = model_files(model) if model else ([], [])
    if model is not None:
        for audited in audits:
            check_same(model, audited)
    made_by = record_of(model)
    base = base_model or hub_name(made_by.get("model"), model)
    files = [with_base(file, base_model, model) for file in files]
    method = method_named(made_by, to, model, audits)
    warnings = [said for one in audits if method and (said := like_original(method, one, before))]
    library = (
        "" if model is None else "peft" if any(file.name == "adapter_config.json" for file in files) else "transformers"
    )
    about = About(
        name=to.partition("/")[2], library=library, base_model=base, license=license, made_by=made_by, warnings=warnings,
        prompts_sent=with_prompts,
    )  # fmt: skip
    made = [File("README.md", card(about, audits).encode())]
    for audited, name in zip(audits, names_of(audits), strict=True):
        made += run_files(audited, name, prompts=with_prompts)
        made += evaluations(audited, name, dataset, to)
    if not with_prompts:
        check_clean([*files, *made], [*audits, *([before] if before else [])])
    place = out or Path("push") / to.partition("/")[2]
    for file in made:
        if isinstance(file.content, bytes):
            write_atomic(place / file.name, file.content)
    warn(warnings, audits=len(audits), with_prompts=with_prompts)
    every = [*files, *made]
    if not as_json:
        say(to, every, left, place)
    where = ""
    if not dry_run:
        about_it = f"leak-at-k: {', '.join(one.label for one in audits) or to}"
        sent = [(file.name, file.content) for file in every]
        where = upload(to, sent, message=about_it, private=not public, pull_request=pull_request)
    if as_json:
        sizes = {file.name: file.size for file in every}
        options.echo_json(
            {
                "to": to,
                "card": str(place / "README.md"),
                "files": sizes,
                "left": left,
                "warnings": warnings,
                "sent": where,
            }
        )
    else:
        typer.echo(f"Sent: {where}" if where else "Nothing was sent (--dry-run).")


def sorted_places(places: Sequence[Path]) -> tuple[Path | None, list[Path]]:
    """(directory of the model, directories of audits). InputError for anything else, or two models."""
    models, runs = [], []
    for place in places:
        if (place / "manifest.json").exists():
            runs.append(place)
        elif any((place / name).exists() for name in ("config.json", "adapter_config.json")):
            models.append(place)
        else:
            what = "holds neither a model nor an audit" if place.is_dir() else "is no directory"
            raise InputError(f"{place} {what}; give the directory of a model, or the --out of an audit.")
    if len(models) > 1:
        raise InputError(f"{models[0]} and {models[1]} are two models; send each to a repository of its own.")
    return (models[0] if models else None), runs


def check_same(model: Path, audited: Audited) -> None:
    """InputError where the audit is of other weights than those to be sent; a note where that cannot be said."""
    from leakatk.models.fingerprint import identity_of

    said, own = audited.run.manifest.model, identity_of(str(model))
    weights, whole = str(said.get("weights_sha256", "")), str(said.get("fingerprint", ""))
    hashed = re.compile("[0-9a-f]{64}")
    if hashed.fullmatch(weights) and hashed.fullmatch(own.weights_sha256):
        same = weights == own.weights_sha256
    elif hashed.fullmatch(whole):
        same = whole == own.fingerprint
    else:
        typer.echo(
            f"{audited.run.path} does not record which weights it asked: whether they are those of {model} is unknown.",
            err=True,
        )
        return
    if not same:
        raise InputError(
            f"{audited.run.path} is an audit of other weights than those in {model}: the card would not speak of the model. Audit that "
            "model, or send its directory alone."
        )


def record_of(model: Path | None) -> dict[str, Any]:
    """What `leakatk unlearn` left beside the model; {} where there is nothing."""
    if model is None or not (model / "unlearning.json").exists():
        return {}
    from leakatk.files.writing import read_kept

    kept = read_kept(model / "unlearning.json")
    return kept if isinstance(kept, dict) and "method" in kept else {}


def hub_name(named: object, model: Path | None) -> str:
    """The name of the base model where it is one of the hub's: a path of this machine is of no use there."""
    if not named and model is not None and (model / "adapter_config.json").exists():
        from leakatk.files.reading import parse_json, read_text

        named = parse_json(read_text(model / "adapter_config.json"), model).get("base_model_name_or_path")
    name = str(named or "")
    return name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not Path(name).exists() else ""


def with_base(file: File, base_model: str, model: Path | None) -> File:
    """An adapter's config with the base model as the hub names it; other files as they are. A note where others cannot load it."""
    from leakatk.report.publishing import File

    if file.name != "adapter_config.json" or model is None:
        return file
    about = json.loads(Path(str(file.content)).read_text(encoding="utf-8"))
    if base_model:
        return File(file.name, (json.dumps({**about, "base_model_name_or_path": base_model}, indent=2) + "\n").encode())
    if not hub_name(about.get("base_model_name_or_path"), None):
        raise InputError(
            f"The adapter's base is {about.get('base_model_name_or_path')!r}, a path of this machine; give --base-model USER/NAME."
        )
    return file


def method_named(made_by: dict[str, Any], to: str, model: Path | None, audits: Sequence[Audited]) -> str:
    """The unlearning method that made the model, or that its names speak of; "" for none."""
    if made_by:
        return str(made_by["method"])
    from leakatk.unlearning.methods import METHODS

    said = " ".join([to, model.name if model else "", *(one.label for one in audits)]).lower()
    words = f"-{re.sub(r'[^a-z0-9]+', '-', said)}-"
    found = [name for name in METHODS if f"-{re.sub(r'[^a-z0-9]+', '-', name.lower())}-" in words]
    return max(found, key=len, default="unlearning" if re.search(r"unlearn|forget", said) else "")


def names_of(audits: Sequence[Audited]) -> list[str]:
    """Names of the audits' folders, told apart by a number."""
    found: list[str] = []
    for audited in audits:
        name = re.sub(r"[^\w.-]+", "-", Path(audited.run.path).resolve().name)
        found.append(name if name not in found else f"{name}-{len(found)}")
    return found


def evaluations(audited: Audited, name: str, dataset: str, to: str) -> list[File]:
    """The file of the hub's community evaluations; none where it is not known which data set the numbers are of."""
    from leakatk.benchmarks.catalog import BENCHMARKS
    from leakatk.report.community import FOLDER, eval_results, hub_dataset
    from leakatk.report.publishing import File

    chosen = dataset or hub_dataset(
        audited.results.benchmark, [(one, BENCHMARKS[one].repository) for one in BENCHMARKS]
    )
    if not chosen:
        typer.echo(
            f"{audited.label}: no data set of the hub is known for {audited.results.benchmark or 'its prompts'}, so there is no {FOLDER}; "
            "give --dataset USER/NAME for one.",
            err=True,
        )
        return []
    text = eval_results(audited, chosen, source=f"https://huggingface.co/{to}")
    return [File(f"{FOLDER}/leak-at-k-{name}.yaml", text.encode())]


def say(to: str, files: Sequence[File], left: Sequence[str], place: Path) -> None:
    """The files with their sizes, and what stays here."""
    from leakatk.progress import format_bytes

    width = max(len(file.name) for file in files)
    typer.echo(
        f"{len(files)} files, {format_bytes(sum(file.size for file in files))}, to {to} (card: {place / 'README.md'}):"
    )
    for file in files:
        typer.echo(f"  {file.name:<{width}}  {format_bytes(file.size)}")
    if left:
        typer.echo(
            f"Not sent, as no file of a model: {', '.join(left[:12])}{f' and {len(left) - 12} more' if len(left) > 12 else ''}."
        )


def warn(warnings: Sequence[str], *, audits: int, with_prompts: bool) -> None:
    """What a person must know before anything is sent, on stderr."""
    from leakatk.report.publishing import SHORTEST

    if not audits:
        typer.echo("No audit is given, so the card has no number: add the directory of one.", err=True)
    elif with_prompts:
        typer.echo(
            "WARNING: the forget questions, the true answers and all samples are sent (--with-prompts).", err=True
        )
    else:
        typer.echo(
            f"Searched word for word: no question and no true answer of the audits ({SHORTEST} characters or more) is in these files.",
            err=True,
        )
    for text in warnings:
        typer.echo(f"WARNING: {text}", err=True)
