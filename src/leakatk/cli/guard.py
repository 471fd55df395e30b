"""leakatk guard fit and serve: a guard is fitted and saved, and put in front of a model for others to ask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import guarding, inputs, options
from leakatk.cli.config import Config
from leakatk.errors import InputError

if TYPE_CHECKING:
    from leakatk.guards.saved import Saved
    from leakatk.guards.serving.backends import Backend
    from leakatk.runs.results import FlaggedResult

FIT_EXAMPLES = options.examples(
    "leakatk guard fit curate --model models/forgot --forget forget.jsonl --retain retain.jsonl --out guards/curate",
    "leakatk guard fit eco:keep=0.95 --model models/forgot --benchmark world --encoder words --out guards/eco",
    "leakatk guard fit curate --model gpt-4o-mini --forget forget.jsonl --neighbours near.jsonl --out guards/curate",
)
SERVE_EXAMPLES = options.examples(
    "leakatk guard serve guards/curate --model models/forgot --port 8000",
    "leakatk guard serve guards/curate --upstream http://localhost:8001/v1 --port 8000",
    "leakatk audit forgot --url http://localhost:8000/v1 --forget forget.jsonl --out runs/served",
)


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        add_help_option=False,
        help="Fit a guard, or serve a model behind one.",
        epilog=SERVE_EXAMPLES,
    )
    group.callback()(_group)
    group.command("fit", short_help="Fit a guard and save it.", epilog=FIT_EXAMPLES)(fit)
    group.command("serve", short_help="Serve a model behind a guard.", epilog=SERVE_EXAMPLES)(serve)
    app.add_typer(group, name="guard")


def _group(help_: options.Help = False) -> None:
    """A callback, so that --help is this library's own."""


def fit(
    name: Annotated[
        str,
        typer.Argument(
            help="Guard, as NAME or NAME:option=value (see leakatk guards); or the directory of a fitted one that learns requests in turn.",
            autocompletion=options.named("guards"),
        ),
    ],
    model: Annotated[str, typer.Option(help="The model it is for: directory, hub id, or its name on a server.")],
    out: Annotated[
        Path, typer.Option(help="Directory to write; it may hold what is to be forgotten: keep it private.")
    ],
    benchmark: options.BenchmarkName = "",
    forget: Annotated[
        Path | None, typer.Option(help="Your own forget prompts (question, answer): JSONL, CSV, Parquet.")
    ] = None,
    retain: Annotated[Path | None, typer.Option(help="Your own retain prompts: what must still be answered.")] = None,
    neighbours: guarding.Neighbours = None,
    column: options.Columns = None,
    limit: options.Limit = None,
    retain_limit: options.RetainLimit = None,
    data: options.Data = None,
    auxiliary: guarding.Auxiliary = None,
    encoder: guarding.Encoder = "",
    level: Annotated[float, typer.Option(help="Level of the intervals.")] = 0.95,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check all that is given, fit and write nothing.")] = False,
    as_json: options.AsJson = False,
    config: Config = None,
) -> None:
    """Fit a guard for a model, save it, and say how many of the prompts it flags.

    A model that is not on this machine is known by its name alone; guards that act inside a model cannot be fitted for it.
    """
    if not 0 < level < 1:
        raise InputError(f"--level must be between 0 and 1, got {level}.")
    from leakatk.guards import get_guard
    from leakatk.guards.base import fitted_on, place_of
    from leakatk.guards.requests import in_turn, kept_of
    from leakatk.guards.saved import check_model, is_saved, load_guard
    from leakatk.models.pretrained import located
    from leakatk.prompts import Known, columns_from, load_prompts

    former = load_guard(name) if is_saved(name) else None
    guard = in_turn(former.guard, name) if former else get_guard(name)
    title, prompts, kept = inputs.prompts_of(
        benchmark, forget, retain, data, held=True, column=column, limit=limit, retain_limit=retain_limit
    )
    shown = inputs.shown_retain(benchmark, data, kept, retain_limit)
    known = Known(
        tuple(prompts), tuple(shown),
        neighbours=tuple(load_prompts(neighbours, columns_from(column or ()), strict=False)) if neighbours else (),
        auxiliary=inputs.auxiliary_models(auxiliary or []), encoder=encoder,
    )  # fmt: skip
    known.need(f"Guard {guard.name}", *guard.needs)
    here = Path(located(model)).exists()
    if not here and place_of(guard.action) in ("hooks", "combine"):
        raise InputError(
            f"Guard {guard.name} acts inside the model, and {model} is not on this machine; give its directory."
        )
    if dry_run:
        told = f"Would fit guard {guard.name} for {model} on {len(prompts):,} forget and {len(shown):,} retain prompts of {title}, into {out}."
        if as_json:
            options.echo_json({"guard": guard.name, "forget": len(prompts), "retain": len(shown), "here": here})
        else:
            typer.echo(told)
        return
    from leakatk.auditing.flagged import shares
    from leakatk.guards.sampler import fitted
    from leakatk.guards.saved import save_guard
    from leakatk.runs.exposure import exposed

    options.say_notes(exposed([out]))
    loading: dict[str, Any] = {"device": device, "dtype": dtype, "template": template, "system": system}
    loading["args"] = inputs.template_args(template_arg or [])
    loaded = inputs.load(model, **loading) if here else None
    about = {"name": model, "fingerprint": loaded.fingerprint if loaded else ""}
    if former:
        check_model(former, name, about)
    ready = fitted(guard, known, loaded)
    save_guard(ready, known, about, out)
    groups = shares(
        ready.detector.flags,
        {"forget": prompts, "retain": kept, "neighbours": known.neighbours},
        fitted_on(ready, known),
        level,
    )
    if as_json:
        told_groups = {key: one.as_dict() for key, one in groups.items()}
        options.echo_json({"guard": guard.name, "model": about, "out": str(out), "level": level, "groups": told_groups})
    else:
        typer.echo(f"Guard {guard.name} for {model}: {out}. It flags {_told(groups, level)}.")
        if former:
            typer.echo(f"{kept_of(former.guard, ready)} of its requests were learned before.")
    if not here:
        options.say_notes([f"{model} is not on this machine: the guard knows it by its name alone."])
    if not groups.keys() & {"retain", "neighbours"}:
        options.say_notes(["Its false refusals are unknown: give --retain or --neighbours."])


def _told(groups: dict[str, FlaggedResult], level: float) -> str:
    """2 of 2 forget prompts (16% to 100%), 0 of 4 retain prompts (0% to 60%), 95% intervals."""
    from leakatk.text import percent

    parts = []
    for name, one in groups.items():
        seen = ", which it was fitted on" if one.fitted else ""
        kind = name if name == "neighbours" else f"{name} prompts"
        parts.append(f"{one.flagged:,} of {one.m:,} {kind} ({percent(one.low)} to {percent(one.high)}{seen})")
    return f"{', '.join(parts)}; {level:.0%} intervals for others like them"


def serve(
    guard: Annotated[Path, typer.Argument(help="Directory that `leakatk guard fit` wrote.")],
    model: Annotated[
        str,
        typer.Option(
            help="The model, in this process; with --upstream its name there. Default: the one it was fitted for."
        ),
    ] = "",
    upstream: Annotated[str, typer.Option(help="Base URL of an OpenAI-compatible server that answers.")] = "",
    name: Annotated[str, typer.Option(help="The name that clients ask for; default the model's own.")] = "",
    host: Annotated[
        str, typer.Option(help="Address to listen on; the default is for this machine alone.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8000,
    key_env: Annotated[
        str, typer.Option(help="Environment variable with the key of the server that answers.")
    ] = "OPENAI_API_KEY",
    timeout: Annotated[float, typer.Option(help="Seconds to wait for that server.")] = 600.0,
    template: options.TemplateKind = "auto",
    template_arg: options.TemplateArgs = None,
    system: options.System = "",
    device: options.Device = "auto",
    dtype: options.Dtype = "auto",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the guard and the model, and serve nothing.")
    ] = False,
    as_json: options.AsJson = False,
    config: Config = None,
) -> None:
    """Serve a model behind a guard, as an OpenAI-compatible server: chat completions and completions, until Ctrl-C.

    The model is in this process (engine native), or on another server for guards that need no weights. It has no log of texts,
    no keys of its own and no limit of rates: what else a public server needs belongs before it.
    """
    from leakatk.guards.saved import check_model, load_guard

    if upstream and not upstream.startswith(("http://", "https://")):
        raise InputError(f"--upstream {upstream!r}: give the whole address, such as http://localhost:8001/v1.")
    if not timeout > 0:
        raise InputError(f"--timeout must be above 0, got {timeout}.")
    saved = load_guard(guard)
    wanted = model or saved.model["name"]
    if upstream:
        check_model(saved, guard, {"name": wanted, "fingerprint": ""})
    else:
        from leakatk.models.fingerprint import model_identity
        from leakatk.models.load import check_source

        check_source(inputs.source(wanted, device=device, dtype=dtype, template=template, system=system))
        check_model(saved, guard, {"name": wanted, "fingerprint": model_identity(wanted)})
    from leakatk.guards.serving.server import bound, server_of

    shown = name or (wanted if upstream else Path(wanted).name)
    if upstream:
        _no_weights(saved)
    if dry_run:
        said = {"guard": saved.guard.name, "model": shown, "upstream": upstream, "host": host, "port": port}
        where = f"the server at {upstream}" if upstream else "this process"
        options.echo_json(said) if as_json else typer.echo(
            f"Would serve {shown}, answered by {where}, behind guard {saved.guard.name} at http://{host}:{port}/v1."
        )
        return
    listening = bound(host, port)
    if upstream:
        made = _behind_upstream(saved, upstream, wanted, shown, key_env, timeout, template)
    else:
        loading: dict[str, Any] = {"device": device, "dtype": dtype, "template": template, "system": system}
        loading["args"] = inputs.template_args(template_arg or [])
        made = _local(saved, guard, wanted, shown, loading)
    at = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/v1"
    server = server_of(made)
    if as_json:
        options.echo_json({"url": at, "model": shown, "guard": saved.guard.name})
    else:
        typer.echo(f"Serving {shown} behind guard {saved.guard.name} at {at}. Ctrl-C stops it.")
    try:
        server.run(sockets=[listening])
    finally:
        made.close()
        counts = made.counts
        typer.echo(
            f"Answered {counts.answered:,} requests, of which the guard acted on {counts.flagged:,}; "
            f"refused {counts.refused:,} as malformed or not supported, failed {counts.failed:,}.",
            err=True,
        )


def _no_weights(saved: Saved) -> None:
    """InputError for a guard that acts inside a model, before another server."""
    from leakatk.guards.base import place_of

    if place_of(saved.guard.action) in ("hooks", "combine"):
        raise InputError(
            f"Guard {saved.guard.name} acts inside the model, which no server shows; serve the model itself (--model, no --upstream)."
        )


def _local(saved: Saved, place: Path, model: str, shown: str, loading: dict[str, Any]) -> Backend:
    from leakatk.guards.sampler import placed
    from leakatk.guards.serving.backends import Local
    from leakatk.sampling.native import NativeSampler

    loaded = inputs.load(model, **loading)
    return Local(placed(NativeSampler(loaded), saved.guard, saved.known, hashes=saved.hashes), shown)


def _behind_upstream(
    saved: Saved, url: str, model: str, shown: str, key_env: str, timeout: float, template: str
) -> Backend:
    from leakatk.guards.serving.backends import Upstream, client_of
    from leakatk.models.template import Template

    form = Template("plain", plain="{question}") if template == "text" else Template("plain")
    client = client_of(url, os.environ.get(key_env, "").strip(), timeout)
    return Upstream(client, saved.guard, shown, template=form, named=model)
