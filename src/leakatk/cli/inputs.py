"""Inputs of a command: models, prompts, engines and scorers, read from its options."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from leakatk.cli.options import TEMPLATES, say_notes
from leakatk.errors import InputError
from leakatk.registry import spec_name

if TYPE_CHECKING:
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel
    from leakatk.models.memory import Trained
    from leakatk.prompts import Prompt


def template_args(given: Sequence[str]) -> tuple[tuple[str, Any], ...]:
    """["enable_thinking=false"] -> (("enable_thinking", False),), by name; a value that is no JSON is a text."""
    found: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name.isidentifier():
            raise InputError(f"--template-arg {text!r}: write NAME=VALUE, such as enable_thinking=false.")
        if name in found:
            raise InputError(f"--template-arg {text!r}: {name} is given twice.")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return tuple(sorted(found.items()))


def source(
    path: str,
    *,
    device: str,
    dtype: str,
    template: str,
    system: str,
    args: tuple[tuple[str, Any], ...] = (),
    device_map: str = "",
    load_in: str = "",
) -> ModelSource:
    """A model as the command line names it, not loaded yet."""
    from leakatk.models.load import ModelSource
    from leakatk.models.placement import check_placement
    from leakatk.models.template import Template

    check_placement(path, device, device_map, load_in)

    if template not in TEMPLATES:
        raise InputError(f"--template {template!r}: use one of {', '.join(TEMPLATES)}.")
    if args and template in ("plain", "text"):
        raise InputError(f"--template-arg is for a chat template, and --template {template} uses none.")
    chosen = (
        Template("plain", plain="{question}") if template == "text" else Template(template, system, args=args)  # type: ignore[arg-type]
    )
    return ModelSource(path, device=device, dtype=dtype, template=chosen, device_map=device_map, load_in=load_in)


def load(path: str, *, training: Trained | None = None, **how: Any) -> LoadedModel:
    """Load a model as the command line names it, and say on stderr what a person must know of it.

    training: what it is loaded for, where that needs more memory than asking it.
    how: as for `source`.
    """
    named = source(path, **how)
    if training is not None:
        named.check()
        named.check_memory(training)
    loaded, args = named.load(), how.get("args")
    if args:
        loaded.template.describe(loaded.tokenizer)  # an argument that the template does not know is an error now
    say_notes(loaded.notes)
    return loaded


def prompts_of(
    benchmark: str,
    forget: Path | None,
    retain: Path | None,
    data: str | None,
    *,
    held: bool = False,
    column: Sequence[str] | None = None,
    limit: int | None = None,
    retain_limit: int | None = None,
) -> tuple[str, list[Prompt], list[Prompt]]:
    """(benchmark name, forget prompts, retain prompts) from --benchmark or from the user's own files.

    held: prefer retain prompts that no unlearner is shown, where the benchmark has them: an honest measure of utility.
    column, limit, retain_limit: as the options of these names. Where prompts are left out, the name says how many are asked,
    and so do the manifest and the results that keep it; a note goes to stderr.
    """
    from leakatk.prompts import columns_from, load_prompts

    if bool(benchmark) == (forget is not None):
        raise InputError("Give either --benchmark NAME or --forget FILE: one of them says what is to be forgotten.")
    if data is not None and not benchmark:
        raise InputError("--data only goes with --benchmark: it is where that benchmark's published files are.")
    columns = columns_from(column or ())
    if columns and not (forget or retain):
        raise InputError("--column only goes with files of your own: --forget or --retain.")
    mine = load_prompts(forget, columns) if forget is not None else []
    own = load_prompts(retain, columns, strict=forget is None) if retain else None
    if forget is not None:
        name, items, kept = forget.name, mine, own or []
        say_chats(mine)
    else:
        from leakatk.benchmarks.catalog import load_benchmark

        bench = load_benchmark(benchmark, data=data_of(benchmark, data))
        kept = list(bench.retain_held if held and bench.retain_held else bench.retain) if own is None else own
        name, items = bench.name, list(bench.forget)
    items, kept, said = limited(items, kept, limit, retain_limit)
    return f"{name} ({said})" if said else name, items, kept


def say_chats(prompts: Sequence[Prompt]) -> None:
    """A note on stderr about prompts that stand in a chat: who sees what goes before them there."""
    within = sum(prompt.asked is not None for prompt in prompts)
    if within:
        typer.echo(
            f"{within:,} of {len(prompts):,} prompts stand in a chat, after a system message or earlier turns. Audits, guards "
            "and unlearn's own answers put them there; probes, attacks that ask, RULE, finetune and the metrics of bench put the question alone.",
            err=True,
        )


def shown_retain(
    benchmark: str, data: str | None, kept: Sequence[Prompt], retain_limit: int | None
) -> Sequence[Prompt]:
    """Retain prompts that something may be fitted on: of a benchmark that holds some back (`kept`), those that it shows."""
    if not benchmark:
        return kept
    from leakatk.benchmarks.catalog import load_benchmark

    bench = load_benchmark(benchmark, data=data_of(benchmark, data))
    if not bench.retain_held or not {prompt.id for prompt in kept} <= {prompt.id for prompt in bench.retain_held}:
        return kept
    return bench.retain if retain_limit is None else drawn(bench.retain, retain_limit)


def limited(
    forget: Sequence[Prompt], retain: Sequence[Prompt], limit: int | None, retain_limit: int | None
) -> tuple[list[Prompt], list[Prompt], str]:
    """(forget prompts, retain prompts, what was left out in words: "" for nothing); a note on stderr says it too."""
    if retain_limit is not None and not retain:
        raise InputError(f"--retain-limit {retain_limit}: there are no retain prompts; give --retain FILE.")
    parts, said = [], []
    for prompts, most, kind, option in (
        (forget, limit, "forget", "--limit"),
        (retain, retain_limit, "retain", "--retain-limit"),
    ):
        chosen = list(prompts) if most is None else drawn(prompts, most)
        if len(chosen) < len(prompts):
            said.append(f"{len(chosen):,} of {len(prompts):,} {kind} prompts, {option}")
        parts.append(chosen)
    if said:
        typer.echo(f"Only {'; '.join(said)}: the same ones for every model and seed.", err=True)
    return parts[0], parts[1], "; ".join(said)


def drawn(prompts: Sequence[Prompt], most: int) -> list[Prompt]:
    """At most so many prompts, in their order: those whose ids have the smallest hashes.

    The first ones of a file would often be of one author. A smaller limit takes a part of what a larger one takes.
    """
    from hashlib import sha256

    ids = sorted((prompt.id for prompt in prompts), key=lambda name: sha256(name.encode()).digest())[:most]
    return [prompt for prompt in prompts if prompt.id in set(ids)]


def data_of(benchmark: str, data: str | None) -> str | None:
    """--data, or the benchmark's folder under LEAKATK_DATA (LEAKATK_DATA/tofu for tofu/forget10), or None for the hub."""
    named = Path(os.environ.get("LEAKATK_DATA", "")) / benchmark.partition("/")[0]
    if data is None and "LEAKATK_DATA" in os.environ and named.is_dir():
        return str(named)
    return data


def engine_caps(
    engine: str,
    url: str,
    max_cost: float | None,
    max_requests: int | None,
    *,
    changed_server: bool = False,
    ignored_fields: bool = False,
    prices: Mapping[str, float] | None = None,
    headers: Sequence[str] | None = None,
) -> tuple[str, dict[str, Any]]:
    """(engine, its options) with --url, --max-cost and --max-requests; an address alone asks for the endpoint engine.

    changed_server, ignored_fields: what of a server is accepted.  prices: as `prices_of` gives them.  headers: as --header.
    """
    if url and engine == "native":
        engine = "endpoint"
    if url and not url.startswith(("http://", "https://")):
        raise InputError(f"--url {url!r}: give the whole address, such as https://api.openai.com/v1.")
    options: dict[str, Any] = {"url": url} if url else {}
    if spec_name(engine) == "endpoint":
        caps = {"max_cost": max_cost, "max_requests": max_requests, **(prices or {})}
        options |= {name: value for name, value in caps.items() if value is not None}
        accepted = {"accept_changed_server": changed_server, "accept_ignored_fields": ignored_fields}
        options |= {name: True for name, given in accepted.items() if given}
        options |= {"headers": _headers(headers)} if headers else {}
    elif headers:
        raise InputError("--header goes with --url or --engine endpoint, a server that is asked.")
    elif changed_server or ignored_fields:
        raise InputError("--accept-changed-server and --accept-ignored-fields go with --url, a server that is asked.")
    return engine, options


def _headers(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name.strip() in found:
            why = "is given twice" if equals else "write NAME=VALUE, such as X-Team=research"
            raise InputError(f"--header {name.strip()}: {why}.")
        found[name.strip()] = value
    return found


@dataclass(frozen=True)
class Prices:
    """--price-in and --price-out, given to what they are for: the engine, or the scorers that are paid."""

    engine: dict[str, float]
    scorers: dict[str, float]


def prices_of(engine: str, url: str, scorers: Sequence[str], price_in: float | None, price_out: float | None) -> Prices:
    """Whose prices these are. InputError where nothing is paid, or both an endpoint and a judge are."""
    from leakatk.scorers import SCORERS, Priced

    given = {name: value for name, value in (("price_in", price_in), ("price_out", price_out)) if value is not None}
    asked = bool(url) or spec_name(engine) == "endpoint"
    paid = [name for name in scorers if issubclass(SCORERS[spec_name(name)], Priced)]
    if given and asked and paid:
        raise InputError(
            "--price-in and --price-out are of one model, and an endpoint and a judge are asked; write --scorer "
            f"{spec_name(paid[0])}:price_in=...,price_out=... and --engine endpoint:price_in=...,price_out=..."
        )
    if given and not asked and not paid:
        raise InputError("--price-in and --price-out go with --url, --engine endpoint or a judge, which cost money.")
    return Prices(given if asked else {}, {} if asked else given)


def with_caps(
    scorer: str, max_cost: float | None, max_requests: int | None, prices: Mapping[str, float] | None = None
) -> str:
    """The scorer's name with --max-cost, --max-requests and prices as its options, where it is one that costs money."""
    from leakatk.scorers import SCORERS, Priced

    given = {"max_cost": max_cost, "max_requests": max_requests, **(prices or {})}
    caps = [f"{name}={value}" for name, value in given.items() if value is not None]
    if not caps or not issubclass(SCORERS[spec_name(scorer)], Priced):
        return scorer
    return scorer + ("," if ":" in scorer else ":") + ",".join(caps)


def auxiliary_models(given: Sequence[str]) -> dict[str, str]:
    """{"clean": "models/small"} from ["clean=models/small"]. InputError for another form, or a name given twice."""
    models: dict[str, str] = {}
    for name, path in further_models(given):
        if name in models:
            raise InputError(f"--auxiliary {name}={path}: {name} is given twice.")
        models[name] = path
    return models


def further_models(given: Sequence[str], such_as: str = "clean=models/small") -> list[tuple[str, str]]:
    """[("earlier", "models/one")] from ["earlier=models/one"]; a name may come several times. InputError for another form."""
    models = []
    for text in given:
        name, equals, path = (part.strip() for part in text.partition("="))
        if not equals or not name or not path:
            raise InputError(f"--auxiliary {text!r}: write NAME=MODEL, such as {such_as}.")
        models.append((name, path))
    return models
