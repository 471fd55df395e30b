"""Options that several commands share, and how their text becomes values."""

from __future__ import annotations

import itertools
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
    from leakatk.auditing.settings import Gate
    from leakatk.sampling.decoding import Decoding


def field_docs(kind: type) -> dict[str, str]:
    """Field -> its docstring, of a dataclass whose fields have one each: what the help of an option says."""
    import ast
    import inspect
    import textwrap

    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for one, after in itertools.pairwise(body.body):
        if (
            isinstance(one, ast.AnnAssign)
            and isinstance(one.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            found[one.target.id] = " ".join(str(after.value.value).split())
    return found


def named(kind: str) -> Callable[[str], list[str]]:
    """Completion in a shell: the names that `leakatk KIND` lists."""

    def complete(incomplete: str) -> list[str]:
        from leakatk.cli.kinds import KINDS, items_of

        return [name for name in sorted(items_of(KINDS[kind])) if name.startswith(incomplete)]

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
DeviceMap = Annotated[
    str,
    typer.Option(
        "--device-map",
        help="auto: spread the weights over every GPU and the main memory. Default: all on --device.",
    ),
]
LoadIn = Annotated[
    str,
    typer.Option(
        "--load-in",
        help="8bit or 4bit: quantise linear layers while loading (extra bitsandbytes). Another model: the manifest says so.",
    ),
]
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
PriceIn = Annotated[
    float | None,
    typer.Option("--price-in", min=0, help="Judge scorer, endpoint engine: US dollars per million tokens asked."),
]
PriceOut = Annotated[
    float | None,
    typer.Option("--price-out", min=0, help="Judge scorer, endpoint engine: US dollars per million tokens answered."),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME=VALUE",
        help="Endpoint engine: a further header of each request, VALUE or env:VARIABLE; may be repeated.",
    ),
]  # fmt: skip
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
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track", metavar="NAME",
        help="Also log numbers to tensorboard, trackio (extra track), wandb or mlflow; may be repeated.",
    ),
]  # fmt: skip
ROLES = ("model", "original", "retrained", "control")
Role = Annotated[
    str, typer.Option(help="What the model is: model (the one that is judged), original, retrained or control.")
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


def check_role(role: str) -> None:
    """InputError for a role that is none; before anything is loaded."""
    if role not in ROLES:
        raise InputError(f"--role {role!r}: use {', '.join(ROLES)}.")


def check_n(n: int) -> None:
    from leakatk.auditing.settings import MAX_N

    if not 1 <= n <= MAX_N:
        raise InputError(f"--n must be at least 1 and at most {MAX_N:,}, got {n}.")


def parse_ks(text: str, n: int, *, drawn: bool = False) -> list[int]:
    """ "1,4,16" -> [1, 4, 16]; "" -> the powers of two up to n. drawn: the samples are there already."""
    if not text:
        from leakatk.auditing.settings import powers_of_two

        return powers_of_two(n)
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
    text: str, n: int, *, worst_case: bool, ways: list[str], unscored: str = "count", cut: str = "count",
    option: str = "--fail-above", **how: Any,
) -> Gate | None:  # fmt: skip
    """ "64:0.05" -> the gate; "" -> None. ways: probes and attacks.  how: further fields of it (over, level)."""
    if worst_case and not (text and ways):
        raise InputError(
            "--worst-case needs --fail-above K:BOUND and a --probe or --attack: it is what the gate looks at."
        )
    if not text:
        return None
    from leakatk.auditing.settings import Gate

    k, _, bound = text.partition(":")
    try:
        gate = Gate(int(k), float(bound), worst_case=worst_case, unscored=unscored, cut=cut, **how)  # type: ignore[arg-type]
    except InputError:
        raise
    except ValueError:
        raise InputError(f"{option} {text!r}: give K:BOUND, such as 64:0.05.") from None
    if gate.k < 1 or not 0 <= gate.bound <= 1:
        raise InputError(f"{option} {text!r}: K must be at least 1 and BOUND between 0 and 1.")
    if gate.k > n:
        raise InputError(f"{option} {text}: k = {gate.k} needs at least as many samples, but --n is {n}.")
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

    from leakatk.registry import read_options, typed_options

    known = {name: value for name, value in base.as_dict().items() if name != "stop"}
    written = read_options("--decoding", "", text)
    return replace(base, **typed_options("--decoding", "", written, {}, known))


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
