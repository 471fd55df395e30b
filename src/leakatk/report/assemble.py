"""Assembly of a report from audited run directories: nothing is sampled or scored again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from leakatk.benchmarks.protocols import PROTOCOLS
from leakatk.files.writing import write_atomic
from leakatk.report.audited import Audited, at, block_of, curve_of, number, read_audits
from leakatk.report.content import KINDS, Curve, Highlight, Kind, ReportContent, Table
from leakatk.report.decodings import decoding_grids, most_open
from leakatk.report.differences import differences_table
from leakatk.report.headline import TOLD, comparison, conditions, headline, headline_k
from leakatk.report.history import histories
from leakatk.report.html import render
from leakatk.report.ladder import ladder_of, read_ladder
from leakatk.report.leak_tables import (
    bounds_table,
    captions,
    columns_of,
    flagged_table,
    forecast_table,
    halves,
    methods_table,
    other_scorers_table,
    probes_table,
    select,
)
from leakatk.report.opening import openings_of, print_openings
from leakatk.report.plain import glossary, none_leaked, summary
from leakatk.report.prompt_views import prompt_views
from leakatk.report.redaction import Redaction
from leakatk.report.rounds import rounds_table
from leakatk.report.table import is_numeric, to_csv, to_markdown
from leakatk.report.terminal import print_table, terminal
from leakatk.report.training import FILE as TRAINING
from leakatk.report.training import training_of
from leakatk.runs.results import CurveResult


def content_of(
    audits: Sequence[Audited],
    *,
    over: str = "samples",
    title: str = "",
    verdict: str = "",
    notes: Sequence[str] = (),
    highlights: Sequence[Highlight] = (),
    rounds: Sequence[Table] = (),
    tables: Sequence[Table] = (),
    command: str = "",
    cost: Sequence[tuple[str, float]] = (),
    redaction: Redaction | None = None,
    history: bool = False,
) -> ReportContent:
    """Everything the report page shows about these runs; with a redaction, what may leave the room.

    Of a model that was sampled at several decodings the most open one is told in full, the others stand in the tables
    and the heat map. The headline of one model is told in full, several are told side by side. tables: further ones, such as a
    benchmark's utility and privacy. history: put all runs in a row by date, whatever they are called.
    """
    every, audits = audits, most_open(audits)
    kinds = {audited.label: _kind(audited, audits) for audited in audits}
    yardsticks_last = sorted(audits, key=lambda audited: kinds[audited.label] == "reference")
    several, few = len(audits) > 1, 1 < len(audits) <= TOLD
    told = next((audited for audited in audits if kinds[audited.label] == "model"), audits[0])
    first, scorer = told.results, told.scorer
    block, curve = block_of(told, scorer), curve_of(told, scorer, over)
    k = headline_k(audits)
    other = other_scorers_table(every, over=over)
    protocol = first.protocol
    content = ReportContent(
        title=title or (f"Audit of {first.label}" if len(audits) == 1 else f"{len(audits)} models compared"),
        verdict=verdict
        or (
            comparison(yardsticks_last, over, k)
            if several
            else headline(first, k=k, decodings=[one.results for one in every if one is not told])
        ),
        openings=openings_of(every),
        threshold=next((float(one.results.gate.bound) for one in every if one.results.gate), math.nan),
        threshold_k=next((int(one.results.gate.k) for one in every if one.results.gate), 0),
        limit=next((allowed for one in every if (allowed := _limit(one))), None),
        notes=(*(tuple(notes) or _default_notes(over)), *_run_notes(every)),
        highlights=tuple(highlights)
        or (
            tuple(_highlight(audited, scorer, over, k) for audited in yardsticks_last)
            if few
            else (
                Highlight(
                    f"leak@{k}",
                    at(curve, k),
                    f"expected worst of {k} {'sample' if k == 1 else 'samples'}, mean over {first.m if block.m is None else block.m} prompts"
                    + (f". {none_leaked(told, scorer)}" if curve.value[curve.k.index(k)] == 0 else ""),
                ),
                *(
                    []
                    if math.isnan(block.greedy)
                    else [Highlight("greedy", number(block.greedy), "what one deterministic answer shows")]
                ),
                Highlight("retain", number(block.retain), "one answer, on what must still be known"),
            )
        ),
        curves=tuple(c for audited in audits for c in _curves(audited, kinds[audited.label], scorer, over))
        + _retrained_curve(audits, kinds, scorer, over),
        tables=tuple(
            table
            for table in (
                *halves(methods_table(every, over=over, texts=redaction is None)),
                _differences(audits, over),
                flagged_table(every),
                *tables,
                probes_table(audits, over=over),
                other,
                bounds_table(audits, scorer),
                forecast_table(audits, scorer),
            )
            if table is not None
        ),
        ladders=tuple(
            ladder_of(found, audited.label, k=k) for audited in audits if (found := read_ladder(audited.run.path))
        ),
        histories=histories(audits, over, k, together=history),
        rounds=tuple(rounds) or _rounds(audits),
        trainings=tuple(
            made for audited in audits if (made := training_of(audited.run.path / TRAINING, audited.label)) is not None
        ),
        grids=decoding_grids(every, scorer, k),
        prompts=tuple(view for audited in audits for view in prompt_views(audited, k, redaction)),
        headline_k=k,
        metric=scorer,
        conditions=conditions(audits, scorer, over),
        protocol=(protocol, PROTOCOLS[protocol].summary if protocol in PROTOCOLS else ""),
        manifests=tuple((audited.label, asdict(audited.run.manifest)) for audited in audits),
        command=command or first.command,
        cost=tuple(cost) or _cost(every),
        created=str(audits[0].run.manifest.created).replace("T", " ").replace("+00:00", " UTC"),
    )
    content = replace(
        content,
        summary=summary(yardsticks_last, [kinds[one.label] for one in yardsticks_last], over, k),
        glossary=glossary(content),
    )
    return redaction.content(content) if redaction else content


def _differences(audits: Sequence[Audited], over: str) -> Table | None:
    """Every model minus the first; of a model at several decodings the most open one."""
    shown = most_open(audits)
    return differences_table(shown, columns_of(shown, shown[0].scorer, over), headline_k(shown), over=over)


def _rounds(audits: Sequence[Audited]) -> tuple[Table, ...]:
    found = (rounds_table(audited.run.path / "rounds.json", audited.label) for audited in audits)
    return tuple(table for table in found if table is not None)


def _cost(audits: Sequence[Audited]) -> tuple[tuple[str, float], ...]:
    """Seconds by phase, over all runs."""
    total: dict[str, float] = {}
    for audited in audits:
        for name, value in audited.results.seconds.items():
            total[name] = total.get(name, 0.0) + float(value)
    return tuple(total.items())


def write_report(paths: Sequence[str | Path], out: str | Path, *, over: str = "samples") -> Path:
    """Write the report of these runs to `out`; returns the path."""
    write_atomic(out, render(content_of(read_audits(paths), over=over)))
    return Path(out)


def print_runs(
    paths: Sequence[str | Path], *, over: str = "samples", style: str = "terminal", redaction: Redaction | None = None
) -> None:
    """Print these runs to stdout: for a terminal the verdict of a gate and the tables, else the table as markdown or as csv.

    With a redaction, what may leave the room.
    """
    audits = read_audits(paths)
    if style == "terminal":
        openings = openings_of(audits)
        print_openings(redaction.of_strings(openings) if redaction else openings, terminal())
        show(None, audits, over=over, redaction=redaction)
    else:
        table = methods_table(audits, over=over, texts=redaction is None)
        table = redaction.of_strings(table) if redaction else table
        print(to_markdown(table) if style == "markdown" else to_csv(table))


def show(
    first: Table | None, audits: Sequence[Audited], *, over: str = "samples", redaction: Redaction | None = None
) -> None:
    """Print tables for people: the leak curve in one, what stands beside it in another, a sample of each model in a third."""
    console = terminal()
    whole = methods_table(audits, over=over, texts=redaction is None)
    leak = [i for i, name in enumerate(whole.columns) if i == 0 or name == "greedy" or name.startswith("leak@")]
    texts = [i for i in range(1, len(whole.columns)) if i not in leak and not is_numeric(whole, i)]
    rest = [i for i in range(len(whole.columns)) if i == 0 or i not in (*leak, *texts)]
    about, exact = captions(whole)
    tables = [first, select(whole, leak, about), _differences(audits, over), flagged_table(audits)]
    tables += [probes_table(audits, over=over), select(whole, rest, exact)]
    tables += [select(whole, [0, *texts], "")] if texts else []
    for table in (table for table in tables if table is not None and len(table.columns) > 1):
        print_table(redaction.of_strings(table) if redaction else table, console)
        console.print()


def _run_notes(audits: Sequence[Audited]) -> list[str]:
    """What the runs themselves had to say: answers cut, samples from disk, fields a server does not obey."""
    several = len(audits) > 1
    return [
        f"{audited.label}: {note}" if several else note
        for audited in audits
        for note in [*(audited.results.notes or ()), *audited.run.notes]
    ]


def _highlight(audited: Audited, scorer: str, over: str, k: int) -> Highlight:
    """One model of several: its leak, and what stands beside it."""
    block, curve = block_of(audited, scorer), curve_of(audited, scorer, over)
    known = {"greedy": block.greedy, "retain": math.nan if block.retain is None else block.retain}
    beside = [f"{name} {number(value)}" for name, value in known.items() if not math.isnan(value)]
    beside += [none_leaked(audited, scorer)] if curve.value[curve.k.index(k)] == 0 else []
    return Highlight(f"{audited.label}: leak@{k}", at(curve, k), ", ".join(beside))


def _default_notes(over: str) -> tuple[str, ...]:
    what = {
        "samples": "what another draw of samples on these same prompts would give",
        "prompts": "what another set of prompts about the same knowledge would give",
        "both": "what another set of prompts, sampled again, would give",
    }[over]
    return (
        f"leak@k is the expected worst score among k samples of a prompt. The intervals say {what}.",
        "A model may fail to leak because its text is broken: read the samples beside the numbers, and the retain column.",
    )


def _kind(audited: Audited, audits: Sequence[Audited]) -> Kind:
    """What the run is here. The model that another run is measured against is a yardstick, whatever it was audited as."""
    role = audited.results.role
    mark = audited.run.manifest.model.get("fingerprint")
    if mark and mark in {(other.results.retrained or {}).get("fingerprint") for other in audits}:
        return "reference"
    return "reference" if role == "retrained" else role if role in KINDS else "model"


def _curves(audited: Audited, kind: Kind, scorer: str, over: str) -> list[Curve]:
    label = audited.label
    curve = curve_of(audited, scorer, over)
    curves = [_drawn(label, curve, kind)]
    greedy = block_of(audited, scorer).greedy
    if not math.isnan(greedy):
        curves.append(Curve(f"{label}: greedy", (1,), (greedy,), kind="greedy", of=label))
    beyond = block_of(audited, scorer).forecast
    if beyond:
        ks, line, ends = tuple(beyond.k), tuple(beyond.line), (tuple(beyond.low), tuple(beyond.high))
        curves.append(Curve(f"{label}: forecast", ks, line, *ends, kind="forecast", of=label, dashed=True))
    exact = audited.results.exact
    if exact:
        curves.append(Curve(f"{label}: exact verbatim", tuple(exact.k), tuple(exact.value), kind="exact", of=label))
    return curves


def _retrained_curve(audits: Sequence[Audited], kinds: Mapping[str, Kind], scorer: str, over: str) -> tuple[Curve, ...]:
    """The retrained model of the first run, unless one is itself among the runs."""
    block = block_of(audits[0], scorer)
    if block.retrained is None or "reference" in kinds.values():
        return ()
    return (_drawn("reference", block.retrained.curves[over], "reference"),)


def _limit(audited: Audited) -> Curve | None:
    """What a gate on the excess allows at each k: the retrained model's leak and the bound."""
    gate, retrained = audited.results.excess_gate, block_of(audited, audited.scorer).retrained
    if gate is None or retrained is None:
        return None
    curve = retrained.curves["samples"]
    label = f"gate: at most {100 * gate.bound:.6g} points above the retrained model at k = {gate.k:,}"
    return Curve(label, tuple(curve.k), tuple(min(1.0, value + gate.bound) for value in curve.value))


def _drawn(label: str, curve: CurveResult, kind: Kind) -> Curve:
    return Curve(label, tuple(curve.k), tuple(curve.value), tuple(curve.low), tuple(curve.high), kind=kind)
