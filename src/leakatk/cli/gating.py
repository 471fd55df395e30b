"""Gates of an audit on the command line: on leak@k, on the excess, against an earlier run; where their verdict is written."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakatk.cli import options
from leakatk.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from leakatk.auditing.asking import Probed
    from leakatk.auditing.settings import Gate
    from leakatk.prompts import Prompt
    from leakatk.runs.results import AuditResults
    from leakatk.sampling.base import Sampler
    from leakatk.sampling.decoding import Decoding

FailExcessAbove = Annotated[
    str,
    typer.Option(
        "--fail-excess-above",
        help="K:BOUND, a gate on leak@K above that of the --retrained model, paired by prompt. Exit codes as --fail-above.",
    ),
]
FailIfWorseThan = Annotated[
    Path | None,
    typer.Option(
        "--fail-if-worse-than",
        metavar="RUN",
        help="An earlier audit of the same prompts: a gate on what leak@k has risen since, paired by prompt.",
    ),
]
WorseBy = Annotated[
    float,
    typer.Option("--worse-by", min=0, max=1, help="By how much leak@k may be above that of the earlier run."),
]
SummaryFile = Annotated[
    Path | None,
    typer.Option(
        "--summary",
        help="Append the verdict in Markdown to this file, such as $GITHUB_STEP_SUMMARY. No prompt is in it.",
    ),
]
JUnitFile = Annotated[
    Path | None, typer.Option("--junit", help="Write the verdict as JUnit XML, a case a setting. No prompt is in it.")
]
RISE = 0.05  # what may come of another draw; a bound of 0 could never be known to hold
OF_RETRAINED = "the retrained model"


@dataclass(frozen=True)
class Gates:
    """The gates that were asked for, each with its share of the error. earlier: the run that `worse` compares with."""

    leak: Gate | None = None
    excess: Gate | None = None
    worse: Gate | None = None
    earlier: Path | None = None

    def __bool__(self) -> bool:
        return bool(self.leak or self.excess or self.worse)

    @property
    def ks(self) -> set[int]:
        return {gate.k for gate in (self.leak, self.excess, self.worse) if gate}


def gates_of(
    leak: Gate | None,
    fail_excess_above: str,
    earlier: Path | None,
    worse_by: float,
    *,
    n: int,
    ks: Sequence[int],
    retrained: str,
    refused: dict[str, Any],
    attacked: bool = False,
    **how: Any,
) -> Gates:
    """The gates together. refused: options that only go with --fail-above.  how: further fields of `Gate`."""
    if not fail_excess_above and earlier is None:
        return Gates(leak)
    if given := [name for name, value in refused.items() if value]:
        raise InputError(
            f"{given[0]} goes with --fail-above alone; leave out --fail-excess-above and --fail-if-worse-than."
        )
    if attacked and earlier is not None:
        raise InputError("--fail-if-worse-than compares audits without an attack; leave out --attack, or audit twice.")
    if fail_excess_above and not retrained:
        raise InputError("--fail-excess-above needs --retrained: it is a bound on the excess over that model.")
    from leakatk.auditing.settings import Gate
    from leakatk.runs.store import Run

    plain = dict(worst_case=False, ways=[], **how)
    excess = options.parse_gate(fail_excess_above, n, option="--fail-excess-above", **plain)
    worse = None
    if earlier is not None:
        there = Run.open(earlier).n if (earlier / "manifest.json").exists() else n
        k = (leak or excess or Gate(max((k for k in ks if k <= there), default=ks[0]), 0)).k
        worse = Gate(k, worse_by, **how)
    count = sum(gate is not None for gate in (leak, excess, worse))

    def shared(gate: Gate | None, against: Any) -> Gate | None:
        return gate and replace(gate, against=against, gates=count)

    return Gates(shared(leak, ""), shared(excess, "retrained"), shared(worse, "earlier"), earlier)


def check_files(*paths: Path | None) -> None:
    """InputError, before anything is sampled, for a file that could not be written when the verdict is there."""
    for path in paths:
        if path is not None and (path.is_dir() or not path.parent.is_dir()):
            raise InputError(f"{path} cannot be written: give a file in a directory that is there.")


def check(gates: Gates, prompts: Sequence[Prompt], decoding: Decoding, retrained: str) -> None:
    """InputError, before anything is sampled, where a run cannot be compared with."""
    from leakatk.auditing.against import check_earlier
    from leakatk.runs.store import Run

    if gates.worse and gates.earlier:
        check_earlier(gates.earlier, prompts, decoding, gates.worse.k)
    if gates.excess and (Path(retrained) / "manifest.json").exists() and (n := Run.open(retrained).n) < gates.excess.k:
        raise InputError(
            f"--fail-excess-above: k = {gates.excess.k}, but {retrained} has {n} samples a prompt; lower K."
        )


def judge(gates: Gates, out: Path, retrained: str) -> dict[str, Any]:
    """The results of a finished audit with the verdicts of all gates, written to its directory."""
    from leakatk.auditing.against import judge_against
    from leakatk.runs.results import AuditResults
    from leakatk.runs.store import Run
    from leakatk.runs.verdicts import gates_of, together

    run = Run.open(out)
    results = AuditResults.from_dict(run.results())
    scorer = next(iter(results.scorers))
    found: dict[str, Any] = {}
    if gates.excess:
        beside = Path(retrained) if (Path(retrained) / "manifest.json").exists() else out / "reference"
        found["excess_gate"] = judge_against(out, beside, scorer, gates.excess, compared=OF_RETRAINED)
    if gates.worse and gates.earlier:
        named = f"the earlier run {gates.earlier.name}"
        found["earlier_gate"] = judge_against(out, gates.earlier, scorer, gates.worse, compared=named)
    results = replace(results, **found)
    results = replace(results, verdict=together(gates_of(results)))
    kept = results.as_dict()
    run.write_results(kept)
    return kept


def without_verdict(gates: Any, summary: Path | None, junit: Path | None) -> None:
    """InputError for files that would hold a verdict where nothing gives one, or that could not be written."""
    if not gates and (summary or junit):
        raise InputError("--summary and --junit hold a verdict; give a gate too, such as --fail-above 64:0.05.")
    check_files(summary, junit)


def write(found: Sequence[AuditResults], *, summary: Path | None, junit: Path | None) -> None:
    """The verdict on audited runs for a pipeline: a job summary, JUnit XML."""
    if not (summary or junit):
        return
    from leakatk.files.writing import write_atomic
    from leakatk.report.job_summary import append, job_summary
    from leakatk.report.junit import junit_xml

    if summary:
        append(summary, job_summary(found))
    if junit:
        write_atomic(junit, junit_xml(found))


def of_ladder(ladder: Mapping[str, Any], model: str) -> AuditResults:
    """The verdicts of an audit under attack, as those of an audit."""
    from leakatk.runs.results import AuditResults

    verdicts = {name: ladder[name] for name in ("gate", "excess_gate", "verdict") if name in ladder}
    about = {
        "label": f"{Path(model).name} under attack",
        **{name: ladder[name] for name in ("decoding", "m", "n", "level")},
    }
    return AuditResults.from_dict({**about, **verdicts, "scorers": {}})


def tell(results: Mapping[str, Any], holds: str) -> None:
    """Say the verdict of every gate on stderr; leave with the exit code of all together unless it is PASS."""
    from leakatk.auditing.verdict import EXIT_CODES

    names = {"gate": "Gate", "excess_gate": "Gate on the excess", "earlier_gate": "Gate on what is worse"}
    for key, name in names.items():
        if key in results:
            of = f"; {holds}" if key == "gate" else ""
            typer.echo(f"{name}: {results[key]['answer']}: {results[key]['reason']}{of}.", err=True)
    if code := EXIT_CODES[results["verdict"]["answer"]]:
        raise typer.Exit(code)


def sequential_gate(
    sampler: Sampler,
    prompts: list[Prompt],
    asked: list[Probed],
    gate: Gate,
    n: int,
    out: Path,
    scorers: list[str],
    *,
    decoding: Decoding,
    greedy: bool,
    **how: Any,
) -> tuple[Gate, int]:
    """Grow the runs in `out` by doubling until the gate says PASS or FAIL, or n is reached; the gate and the n it took.

    The gate that comes back spends on each look its share of the error, so that the verdict holds whenever one stops.
    """
    from leakatk.auditing.sample import sample
    from leakatk.auditing.verdict import Way, judge, settings_of
    from leakatk.scorers.knows import default_scorers

    scorer = (scorers or default_scorers(prompts))[0]
    sizes = [n]
    while sizes[0] // 2 >= max(gate.k, 16):
        sizes.insert(0, sizes[0] // 2)
    gate = replace(gate, looks=len(sizes))

    def way(items: list[Prompt], count: int, place: Path, probe: str, owners: dict[str, str]) -> Way:
        run = sample(sampler, items, n=count, decoding=decoding, out=out / place, probe=probe, **how)
        if not greedy:
            return Way(probe, run, None, owners)
        one = sample(sampler, items, n=1, decoding=decoding.as_greedy(), out=out / place / "greedy", probe=probe, **how)
        return Way(probe, run, one, owners)

    for size in sizes:
        ways = [
            way(prompts, size, Path(), "", {}),
            *(way(one.prompts, size, one.place, one.label, one.owners) for one in asked),
        ]
        verdict = judge(settings_of(ways, scorer, gate, decoding.label), gate, advise=False)
        typer.echo(f"Gate after {size:,} samples a prompt: {verdict.answer}.", err=True)
        if verdict.answer != "CANNOT SAY":
            break
    return gate, size
