"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from leakatk import errors
from leakatk.errors import InputError
from leakatk.files.checksums import INDEX

if TYPE_CHECKING:
    from leakatk.auditing.verdict import Gate
    from leakatk.models.load import ModelSource
    from leakatk.models.loaded import LoadedModel
    from leakatk.prompts import Prompt
    from leakatk.sampling.decoding import Decoding


def named(kind: str) -> Callable[[str], list[str]]:
    """Completion in a shell: the names that `leakatk KIND` lists."""

    def complete(incomplete: str) -> list[str]:
        from leakatk.cli.kinds import KINDS

        return [name for name in sorted(KINDS[kind].load()) if name.startswith(incomplete)]

    return complete


def _show_help(context: typer.Context, show: bool) -> None:
    if show and not context.resilient_parsing:
        typer.echo(context.get_help())
        raise typer.Exit


def _set_quiet(quiet: bool) -> bool:
    from leakatk import progress

    progress.silent = quiet
    return quiet


# For groups, whose own --help would load pydantic before that of the command is reached.
Help = Annotated[bool, typer.Option("--help", callback=_show_help, is_eager=True, help="Show this message and exit.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of every random stream.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str, typer.Option(help="auto (fp32 on a CPU, bf16 on a GPU), fp32, bf16 or fp16.")]
TemplateKind = Annotated[
    str,
    typer.Option(
        "--template",
        help="auto, chat (the tokenizer's chat template), plain (Question: ... Answer:) or text (the prompt as it stands).",
    ),
]
System = Annotated[str, typer.Option(help="System message put before every question (chat template only).")]
TemplateArgs = Annotated[
    list[str] | None,
    typer.Option(
        "--template-arg",
        help="NAME=VALUE for the chat template, such as enable_thinking=false; may be repeated. A server gets it as "
        "chat_template_kwargs.",
    ),
]
Fresh = Annotated[
    bool, typer.Option("--fresh", help="Sample anew: what OUT holds is kept beside it, under its name and date.")
]
AcceptChangedServer = Annotated[
    bool, typer.Option("--accept-changed-server", help="Go on although the server is not as it was.")
]
AcceptIgnoredFields = Annotated[
    bool,
    typer.Option("--accept-ignored-fields", help="Sample although the server ignores a filter or penalty asked for."),
]
TEMPLATES = ("auto", "chat", "plain", "text")
Interval = Literal["samples", "prompts", "both"]
Over = Annotated[
    Interval,
    typer.Option(help="What the interval is over: other samples of these prompts, other prompts, or both."),
]
MaxCost = Annotated[
    float | None, typer.Option(min=0, help="Judge scorer, endpoint engine: most US dollars that each may spend.")
]
MaxRequests = Annotated[
    int | None, typer.Option(min=0, help="Judge scorer, endpoint engine: most requests that each may send.")
]
Engine = Annotated[
    str,
    typer.Option(
        help="Sampling engine (see leakatk engines), as NAME or NAME:OPTION=VALUE,...", autocompletion=named("engines")
    ),
]
BenchmarkName = Annotated[
    str, typer.Option(help="Benchmark name, such as world or tofu/forget10.", autocompletion=named("benchmarks"))
]
Probes = Annotated[
    list[str] | None,
    typer.Option(
        help="Also ask in this way (see leakatk probes), --n samples each; may be repeated.",
        autocompletion=named("probes"),
    ),
]
Replicas = Annotated[int | None, typer.Option(help="Engine ray: how many copies of the inner engine.")]
Inner = Annotated[str | None, typer.Option(help="Engine ray: the engine copied; default native.")]
FailAbove = Annotated[
    str,
    typer.Option(
        help="K:BOUND, a gate. Exit 0 (PASS) when leak@K is certainly at most BOUND, 1 (FAIL) when it is certainly above, "
        "4 (CANNOT SAY) when what was measured does not decide."
    ),
]
Unscored = Annotated[
    str, typer.Option(help="Prompts that no scorer could score: count (unknown to the gate) or ignore.")
]
Cut = Annotated[
    str, typer.Option(help="Answers cut at --max-new-tokens: count (unknown to the gate unless they leak) or ignore.")
]
WorstCase = Annotated[
    bool,
    typer.Option(
        "--worst-case", help="The gate looks at the union over every way of asking, not at each way by itself."
    ),
]
OneWording = Annotated[
    bool, typer.Option("--one-wording", help="Do not ask prompts in the other wordings that they carry.")
]
Quiet = Annotated[bool, typer.Option("--quiet", callback=_set_quiet, expose_value=False, help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON on stdout.")]
DryRun = Annotated[
    bool,
    typer.Option("--dry-run", help="Say what would be computed and what it costs (a pilot is timed), write nothing."),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="Directory with a benchmark's published files; default its folder in LEAKATK_DATA, else the hub."
    ),
]


Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="FIELD=NAME",
        help="Column of your files that holds a field, such as question=MyQuestion; may be repeated.",
    ),
]  # fmt: skip
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit", min=1, help="Forget prompts at most: the same ones for every model and seed. Said in the results."
    ),
]
RetainLimit = Annotated[int | None, typer.Option("--retain-limit", min=1, help="Retain prompts at most, chosen alike.")]


@contextmanager
def reading(*places: Path) -> Iterator[None]:
    """RunError for files of these directories that make no sense, unless checksums vouch for them: then it is a crash.

    A pipe, a device or a loop in the place of a file is refused before anything is read: it may never end.
    """
    from leakatk.files.reading import check_directory

    for place in places:
        check_directory(place)
    try:
        yield
    except errors.LeakAtKError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        odd = [place for place in places if place.exists() and not (place / INDEX).exists()]
        if not odd:
            raise
        raise errors.RunError(
            f"{odd[0]} holds a file that makes no sense ({type(error).__name__}: {errors.first_line(error)}): it was damaged or "
            "edited, or another version wrote it. Restore it from a copy, or run the command that made it again."
        ) from error


def echo_json(value: object) -> None:
    """Print plain values as JSON; what is missing (NaN) is null."""
    from leakatk.files.strict_json import strict_json

    typer.echo(strict_json(value, indent=2, default=str))


def examples(*commands: str) -> str:
    """The end of a command's help: commands as they are typed, never wrapped, and the exit codes."""
    lines = ["Examples:", *(f"  {command}" for command in commands)]
    return "\b\n" + "\n".join(lines) + f"\n\n{EXIT_CODES}"


EXIT_CODES = f"Exit codes: {'; '.join(f'{code} {meaning}' for code, meaning in errors.EXIT_CODES.items())}."


def check_n(n: int) -> None:
    from leakatk.auditing.sample import MAX_N

    if not 1 <= n <= MAX_N:
        raise InputError(f"--n must be at least 1 and at most {MAX_N:,}, got {n}.")


def parse_ks(text: str, n: int, *, drawn: bool = False) -> list[int]:
    """ "1,4,16" -> [1, 4, 16]; "" -> the powers of two up to n. drawn: the samples are there already."""
    if not text:
        return [2**i for i in range(n.bit_length()) if 2**i <= n]
    try:
        ks = sorted({int(part) for part in text.split(",") if part.strip()})
    except ValueError:
        raise InputError(f"--k {text!r}: give whole numbers separated by commas, such as 1,16,128.") from None
    if not ks or ks[0] < 1:
        raise InputError(f"--k {text!r}: every k must be at least 1.")
    if ks[-1] > n:
        if drawn:
            raise InputError(f"--k {ks[-1]} needs at least as many samples, but there are {n} a prompt: lower --k.")
        raise InputError(f"--k {ks[-1]} needs at least as many samples, but --n is {n}: raise --n or lower --k.")
    return ks


def parse_gate(
    text: str, n: int, *, worst_case: bool, probes: list[str], unscored: str = "count", cut: str = "count", **how: Any
) -> Gate | None:
    """ "64:0.05" -> the gate; "" -> None. how: further fields of it (over, level)."""
    if worst_case and not (text and probes):
        raise InputError("--worst-case needs --fail-above K:BOUND and a --probe: it is what the gate looks at.")
    if not text:
        return None
    from leakatk.auditing.verdict import Gate

    k, _, bound = text.partition(":")
    try:
        gate = Gate(int(k), float(bound), worst_case=worst_case, unscored=unscored, cut=cut, **how)  # type: ignore[arg-type]
    except InputError:
        raise
    except ValueError:
        raise InputError(f"--fail-above {text!r}: give K:BOUND, such as 64:0.05.") from None
    if gate.k < 1 or not 0 <= gate.bound <= 1:
        raise InputError(f"--fail-above {text!r}: K must be at least 1 and BOUND between 0 and 1.")
    if gate.k > n:
        raise InputError(f"--fail-above {text}: k = {gate.k} needs at least as many samples, but --n is {n}.")
    return gate


def tell_gate(verdict: Mapping[str, Any], holds: str) -> None:
    """Say the verdict on stderr, and what it holds for; leave with its exit code unless it is PASS."""
    from leakatk.auditing.verdict import EXIT_CODES

    typer.echo(f"Gate: {verdict['answer']}: {verdict['reason']}; {holds}.", err=True)
    if code := EXIT_CODES[verdict["answer"]]:
        raise typer.Exit(code)


def parse_decoding(text: str, base: Decoding) -> Decoding:
    """ "temperature=0.7,top_p=0.9" -> `base` with these fields changed."""
    from dataclasses import replace

    known = base.as_dict()
    values: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals or name not in known or name == "stop":
            names = ", ".join(field for field in known if field != "stop")
            raise InputError(f"--decoding {text!r}: write NAME=VALUE with names among {names}.")
        try:
            values[name] = type(known[name])(value)
        except ValueError:
            raise InputError(f"--decoding {text!r}: {name} must be a number, got {value!r}.") from None
    return replace(base, **values)


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
    path: str, *, device: str, dtype: str, template: str, system: str, args: tuple[tuple[str, Any], ...] = ()
) -> ModelSource:
    """A model as the command line names it, not loaded yet."""
    from leakatk.models.load import ModelSource
    from leakatk.models.template import Template

    if template not in TEMPLATES:
        raise InputError(f"--template {template!r}: use one of {', '.join(TEMPLATES)}.")
    if args and template in ("plain", "text"):
        raise InputError(f"--template-arg is for a chat template, and --template {template} uses none.")
    chosen = (
        Template("plain", plain="{question}") if template == "text" else Template(template, system, args=args)  # type: ignore[arg-type]
    )
    return ModelSource(path, device=device, dtype=dtype, template=chosen)


def load(
    path: str, *, device: str, dtype: str, template: str, system: str, args: tuple[tuple[str, Any], ...] = ()
) -> LoadedModel:
    """Load a model as the command line names it, and say on stderr what a person must know of it."""
    loaded = source(path, device=device, dtype=dtype, template=template, system=system, args=args).load()
    if args:
        loaded.template.describe(loaded.tokenizer)  # an argument that the template does not know is an error now
    say_notes(loaded.notes)
    return loaded


def command() -> str:
    """The command as it was typed, for results and reports; an address without user, password and query."""
    from leakatk.remote.client import shown

    def bare(found: re.Match[str]) -> str:
        try:
            return shown(found[0])
        except ValueError:  # no address after all
            return "URL"

    return shlex.join(["leakatk", *(re.sub(r"https?://\S+", bare, word) for word in sys.argv[1:])])


def say_notes(notes: Sequence[str]) -> None:
    """Print sentences that a person must see, on stderr, whatever was asked to be quiet."""
    for note in dict.fromkeys(notes):
        typer.echo(f"Note: {note}", err=True)


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
    else:
        from leakatk.benchmarks.catalog import load_benchmark

        bench = load_benchmark(benchmark, data=data_of(benchmark, data))
        kept = list(bench.retain_held if held and bench.retain_held else bench.retain) if own is None else own
        name, items = bench.name, list(bench.forget)
    items, kept, said = limited(items, kept, limit, retain_limit)
    return f"{name} ({said})" if said else name, items, kept


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
) -> tuple[str, dict[str, Any]]:
    """(engine, its options) with --url, --max-cost and --max-requests; an address alone asks for the endpoint engine.

    changed_server, ignored_fields: what of a server is accepted.
    """
    if url and engine == "native":
        engine = "endpoint"
    if url and not url.startswith(("http://", "https://")):
        raise InputError(f"--url {url!r}: give the whole address, such as https://api.openai.com/v1.")
    options: dict[str, Any] = {"url": url} if url else {}
    if engine.partition(":")[0] == "endpoint":
        caps = {"max_cost": max_cost, "max_requests": max_requests}
        options |= {name: value for name, value in caps.items() if value is not None}
        accepted = {"accept_changed_server": changed_server, "accept_ignored_fields": ignored_fields}
        options |= {name: True for name, given in accepted.items() if given}
    elif changed_server or ignored_fields:
        raise InputError("--accept-changed-server and --accept-ignored-fields go with --url, a server that is asked.")
    return engine, options


def move_aside(out: Path) -> None:
    """For --fresh: a run that OUT holds goes to a directory beside it, under its name and the time it was made."""
    from leakatk.runs.store import Run
    from leakatk.workdir import claim

    if not (out / "manifest.json").exists():
        return  # nothing there, or what the run itself refuses
    made = Run.open(out).manifest.created
    claim(out).close()  # RunError while another process writes it
    name = f"{out.resolve().name}-before-{re.sub('[^0-9T]', '', made[:19])}"
    places = (out.resolve().with_name(name + (f"-{i}" if i else "")) for i in itertools.count())
    place = next(place for place in places if not place.exists())
    try:
        out.resolve().rename(place)
    except OSError as error:
        raise InputError(
            f"--fresh cannot move {out} to {place}: {error.strerror or error}; choose another --out. Nothing was changed."
        ) from error
    typer.echo(f"{out} was moved to {place}; all samples are drawn anew.", err=True)


def with_caps(scorer: str, max_cost: float | None, max_requests: int | None) -> str:
    """The scorer's name with --max-cost and --max-requests as its options; only the judge has them."""
    caps = [f"max_cost={max_cost}"] if max_cost is not None else []
    caps += [f"max_requests={max_requests}"] if max_requests is not None else []
    if not caps or scorer.partition(":")[0] != "judge":
        return scorer
    return scorer + ("," if ":" in scorer else ":") + ",".join(caps)
