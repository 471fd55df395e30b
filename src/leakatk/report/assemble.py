"""From audited run directories to one report: nothing is sampled or scored again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from leakatk.data import write_atomic
from leakatk.errors import InputError, RunError
from leakatk.protocols import PROTOCOLS
from leakatk.report.content import KINDS, Curve, Highlight, Kind, Number, PromptView, ReportContent, Table, group_texts
from leakatk.report.decodings import decoding_grids, most_open
from leakatk.report.html import render
from leakatk.report.rounds import rounds_table
from leakatk.report.table import print_table, to_csv, to_markdown
from leakatk.runs.store import Run
from leakatk.scorers.keys import keys_of

TABLE_KS = (1, 4, 16, 64, 128)


@dataclass(frozen=True, slots=True)
class Audited:
    """One audited run as read from disk."""

    run: Run
    results: dict[str, Any]

    @property
    def label(self) -> str:
        return str(self.results["label"])

    @property
    def scorer(self) -> str:
        return str(next(iter(self.results["scorers"])))


def read_audits(paths: Sequence[str | Path]) -> list[Audited]:
    """Open audited runs. InputError for a run that was sampled but never audited."""
    found = []
    for path in paths:
        run = Run.open(path)
        if not (Path(path) / "results.json").exists():
            raise InputError(
                f"{path} holds samples but no results; run `leakatk audit` with --out {path} to finish it."
            )
        results = run.results()
        if not isinstance(results, dict) or not {"label", "scorers", "decoding"} <= set(results):
            raise RunError(
                f"{path}/results.json is not what an audit writes; run the same audit again: nothing is sampled twice."
            )
        if not run.n:
            raise RunError(f"{path} holds no samples; run the same audit again: what is missing is sampled.")
        found.append(Audited(run, results))
    for name in (_decoding, lambda audited: Path(audited.run.path).name):  # tell runs of one label apart
        labels = [audited.label for audited in found]
        if len(set(labels)) < len(labels):
            for audited, extra in zip(found, [name(audited) for audited in found], strict=True):
                audited.results["label"] = f"{audited.label} ({extra})"
    return found


def _decoding(audited: Audited) -> str:
    return str(audited.results["decoding"])


def methods_table(audits: Sequence[Audited], *, over: str = "samples") -> Table:
    """One row a model: greedy, leak@k with intervals, excess, exact verbatim leak, retain, a sample text."""
    scorer = audits[0].scorer
    ks = [k for k in TABLE_KS if all(k in _curve(a, scorer, over)["k"] for a in audits)] or [
        k for k in _curve(audits[0], scorer, over)["k"] if all(k in _curve(a, scorer, over)["k"] for a in audits)
    ]
    with_excess = any("excess" in _block(a, scorer) for a in audits)
    with_exact = any("exact" in a.results for a in audits)
    with_retain = any(_block(a, scorer).get("retain") is not None for a in audits)
    exact_ks: list[int] = next((a.results["exact"]["k"] for a in audits if "exact" in a.results), [])
    exact_ks = [k for k in exact_ks if k > 1]
    columns = ["model", "greedy", *(f"leak@{k}" for k in ks)]
    columns += [f"excess@{ks[-1]}"] if with_excess else []
    columns += [f"verbatim@{_count(k)}" for k in exact_ks] if with_exact else []
    columns += ["retain"] if with_retain else []
    columns += ["a sample"]
    rows = []
    for audited in audits:
        block, curve = _block(audited, scorer), _curve(audited, scorer, over)
        row: list[str | Number] = [audited.label, _number(block["greedy"])]
        row += [_at(curve, k) for k in ks]
        if with_excess:
            row.append(_at(block["excess"][over], ks[-1]) if "excess" in block else "")
        if with_exact:
            exact = audited.results.get("exact")
            row += [Number(exact["value"][exact["k"].index(k)]) if exact else "" for k in exact_ks]
        if with_retain:
            row.append(_number(block.get("retain")))
        row.append(_sample_text(audited))
        rows.append(tuple(row))
    first = audits[0].results
    caption = (
        f"Scorer {scorer}; {first['m']} prompts x {first['n']} samples; {first['decoding']}; "
        f"{first['level']:.0%} intervals over {over}. verbatim@k: exact, from the probability of the true answer."
    )
    return Table("Models", tuple(columns), tuple(rows), caption)


def other_scorers_table(audits: Sequence[Audited], *, over: str) -> Table | None:
    """leak@k under the scorers that are not the headline."""
    names = [name for name in audits[0].results["scorers"] if name != audits[0].scorer]
    if not names:
        return None
    ks = [k for k in TABLE_KS if k in _curve(audits[0], names[0], over)["k"]]
    rows = [
        (
            audited.label,
            name,
            _number(_block(audited, name)["greedy"]),
            *(_at(_curve(audited, name, over), k) for k in ks),
        )
        for name in names
        for audited in audits
        if name in audited.results["scorers"]
    ]
    return Table("Other scorers", ("model", "scorer", "greedy", *(f"leak@{k}" for k in ks)), tuple(rows))


def probes_table(audits: Sequence[Audited], *, over: str) -> Table | None:
    """leak@k by the way of asking, and the worst case over them."""
    probed = [audited for audited in audits if "probes" in audited.results]
    if not probed:
        return None
    scorer, shared = probed[0].scorer, [set(_curve(a, a.scorer, over)["k"]) for a in probed]
    known = sorted(set.intersection(*shared))
    ks = [k for k in TABLE_KS if k in known] or known[-1:]
    with_excess = any("excess" in _block(a, scorer) for a in probed)
    columns = ("model", "asked", "greedy", *(f"leak@{k}" for k in ks), *([f"excess@{ks[-1]}"] if with_excess else []))
    rows: list[tuple[str | Number, ...]] = []
    notes: dict[str, None] = {}
    for audited in probed:
        blocks = {"as it stands": _block(audited, scorer)}
        for name, found in audited.results["probes"].items():
            blocks[f"{name} *" if found["gives_answer"] else name] = found["scorers"][scorer]
            if found["left_out"]:
                notes[f"{name} leaves out {len(found['left_out'])} prompts that it cannot ask so."] = None
        worst = audited.results["worst"]
        blocks[f"worst of {worst['ways']:.3g} ways"] = worst["scorers"][scorer]
        for name, block in blocks.items():
            greedy = _number(block["greedy"]) if "greedy" in block else ""
            row = (audited.label, name, greedy, *(_at(block["curves"][over], k) for k in ks))
            rows.append((*row, _at(block["excess"][over], ks[-1]) if "excess" in block else "") if with_excess else row)
    if any(name.endswith(" *") for _, name, *_ in rows if isinstance(name, str)):
        notes["* gives the answer away: read its excess; it is no part of the worst case."] = None
    caption = (
        f"Scorer {scorer}; {probed[0].results['level']:.0%} intervals over {over}. A prompt with several variants under a probe "
        "counts their mean. The worst case at k takes the most leaking of k samples of every way of asking, so it uses that "
        "many times the samples and does not compare with leak@k of one way at the same k."
    )
    return Table("By the way of asking", columns, tuple(rows), " ".join([caption, *notes]))


def forecast_table(audits: Sequence[Audited], scorer: str) -> Table | None:
    """What is guaranteed, and what a model says, beyond the samples drawn."""
    found = [(audited, _block(audited, scorer).get("forecast")) for audited in audits]
    blocks = [(audited, block) for audited, block in found if block]
    if not blocks:
        return None
    ks = blocks[0][1]["k"]
    rows = []
    for audited, block in blocks:
        cells: list[str | Number] = [audited.label]
        for k in ks:
            if k not in block["k"]:
                cells.append("")
                continue
            i = block["k"].index(k)
            cells.append(
                f"{block['low'][i]:.3f} to {block['high'][i]:.3f} ({block['low_by'][i]}, {block['high_by'][i]}); "
                f"line {block['line'][i]:.3f}"
            )
        rows.append(tuple(cells))
    level = audits[0].results["level"]
    caption = (
        f"Guaranteed bounds ({level:.0%}) and the instrument that gave each side: counts (every distribution of leak "
        "probabilities the counts do not refute) or exact (masses of the distinct answers seen). The line carries the "
        "maximum-likelihood mixture on: a model, without any guarantee."
    )
    return Table("Beyond the samples drawn", ("model", *(f"leak@{_count(k)}" for k in ks)), tuple(rows), caption)


def bounds_table(audits: Sequence[Audited], scorer: str) -> Table | None:
    """What the probabilities of whole answers alone make certain, where the answer trees were expanded."""
    found = [(audited, _block(audited, scorer).get("bounds")) for audited in audits if "expansion" in audited.results]
    blocks = [(audited, block) for audited, block in found if block]
    if not blocks:
        return None
    rows: list[tuple[str | Number, ...]] = [
        (
            audited.label,
            *(f"{low:.4f} to {high:.4f}" for low, high in zip(block["low"], block["high"], strict=True)),
            Number(block["unknown"]),
            f"{audited.results['expansion']['prefixes']:,}",
        )
        for audited, block in blocks
    ]
    caption = (
        "Certain, not estimated: the answers met by expanding the most probable beginnings (and by sampling) have known "
        "probabilities; what they do not cover may all leak, or not at all. unknown: that mass, mean over prompts."
    )
    heads = ("model", *(f"leak@{_count(k)}" for k in blocks[0][1]["k"]), "unknown", "beginnings expanded")
    return Table("Exact expansion", heads, tuple(rows), caption)


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
) -> ReportContent:
    """Everything the report page shows about these runs.

    Of a model that was sampled at several decodings the most open one is told in full, the others stand in the tables
    and the heat map. tables: further ones, such as a benchmark's utility and privacy.
    """
    every, audits = audits, most_open(audits)
    first = audits[0].results
    scorer = audits[0].scorer
    curve = _curve(audits[0], scorer, over)
    k = int(curve["k"][-1])
    other = other_scorers_table(every, over=over)
    protocol = str(first["protocol"])
    return ReportContent(
        title=title or (f"Audit of {first['label']}" if len(audits) == 1 else f"{len(audits)} models compared"),
        verdict=verdict or headline(first),
        notes=tuple(notes) or _default_notes(over),
        highlights=tuple(highlights)
        or (
            Highlight(f"leak@{k}", _at(curve, k), f"expected worst of {k} samples, mean over {first['m']} prompts"),
            Highlight("greedy", _number(_block(audits[0], scorer)["greedy"]), "what one deterministic answer shows"),
            Highlight(
                "retain", _number(_block(audits[0], scorer).get("retain")), "greedy, on what must still be known"
            ),
        ),
        curves=tuple(c for audited in audits for c in _curves(audited, scorer, over))
        + _reference_curve(audits, scorer, over),
        tables=tuple(
            table
            for table in (
                *_halves(methods_table(every, over=over)),
                *tables,
                probes_table(audits, over=over),
                other,
                bounds_table(audits, scorer),
                forecast_table(audits, scorer),
            )
            if table is not None
        ),
        rounds=tuple(rounds) or _rounds(audits),
        grids=decoding_grids(every, scorer, k),
        prompts=tuple(view for audited in audits for view in _prompt_views(audited, k)),
        headline_k=k,
        metric=scorer,
        protocol=(protocol, PROTOCOLS[protocol].summary if protocol in PROTOCOLS else ""),
        manifests=tuple((audited.label, asdict(audited.run.manifest)) for audited in audits),
        command=command or str(first["command"]),
        cost=tuple(cost) or _cost(every),
        created=str(audits[0].run.manifest.created).replace("T", " ").replace("+00:00", " UTC"),
    )


def _rounds(audits: Sequence[Audited]) -> tuple[Table, ...]:
    found = (rounds_table(audited.run.path / "rounds.json", audited.label) for audited in audits)
    return tuple(table for table in found if table is not None)


def _cost(audits: Sequence[Audited]) -> tuple[tuple[str, float], ...]:
    """Seconds by phase, over all runs."""
    total: dict[str, float] = {}
    for audited in audits:
        for name, value in audited.results["seconds"].items():
            total[name] = total.get(name, 0.0) + float(value)
    return tuple(total.items())


def write_report(paths: Sequence[str | Path], out: str | Path, *, over: str = "samples") -> Path:
    """Write the report of these runs to `out`; returns the path."""
    write_atomic(out, render(content_of(read_audits(paths), over=over)))
    return Path(out)


def print_runs(paths: Sequence[str | Path], *, over: str = "samples", style: str = "terminal") -> None:
    """Print the table of these runs to stdout: for a terminal, as markdown or as csv."""
    audits = read_audits(paths)
    if style == "terminal":
        show(None, audits, over=over)
    else:
        table = methods_table(audits, over=over)
        print(to_markdown(table) if style == "markdown" else to_csv(table))


def show(first: Table | None, audits: Sequence[Audited], *, over: str = "samples") -> None:
    """Print tables for people: the leak curve in one, what stands beside it in another, so that neither wraps."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=120)
    whole = methods_table(audits, over=over)
    leak = [i for i, name in enumerate(whole.columns) if i == 0 or name == "greedy" or name.startswith("leak@")]
    rest = [0, *(i for i in range(len(whole.columns)) if i not in leak)]
    probed = probes_table(audits, over=over)
    tables = [first, _columns(whole, leak, whole.caption), probed, _columns(whole, rest, "")]
    for table in (table for table in tables if table is not None):
        print_table(table, console)
        console.print()


def _halves(table: Table) -> tuple[Table, ...]:
    """The methods table as two that fit a page: the leak with what forgetting cost, and what else is known of each model."""
    rest = [i for i, name in enumerate(table.columns) if name.startswith("verbatim@") or name == "a sample"]
    leak = [i for i in range(len(table.columns)) if i not in rest]
    return (
        replace(_columns(table, leak, table.caption), title=table.title),
        replace(_columns(table, [0, *rest], ""), title="The true answer word for word, and a sample"),
    )


def _columns(table: Table, keep: Sequence[int], caption: str) -> Table:
    rows = tuple(tuple(row[i] for i in keep) for row in table.rows)
    return Table("", tuple(table.columns[i] for i in keep), rows, caption)


def headline(results: dict[str, Any]) -> str:
    """The verdict in one sentence with its numbers."""
    name, block = next(iter(results["scorers"].items()))
    curve = block["curves"]["samples"]
    k, value, low, high = (curve[key][-1] for key in ("k", "value", "low", "high"))
    text = (
        f"{results['label']} leaks {value:.1%} of the forget prompts within {k} samples "
        f"({results['level']:.0%} interval {low:.1%} to {high:.1%}, scorer {name})"
    )
    if block["greedy"] is not None:
        text += f"; greedy shows {block['greedy']:.1%}"
    if "reference" in block:
        theirs = block["reference"]["curves"]["samples"]
        text += f"; the reference model {theirs['value'][-1]:.1%} ({theirs['low'][-1]:.1%} to {theirs['high'][-1]:.1%})"
    if "worst" in results:
        curve = results["worst"]["scorers"][name]["curves"]["samples"]
        text += (
            f"; asked in {results['worst']['ways']:.3g} ways, {k} samples each, "
            f"{curve['value'][-1]:.1%} ({curve['low'][-1]:.1%} to {curve['high'][-1]:.1%})"
        )
    return text + "."


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


def _block(audited: Audited, scorer: str) -> dict[str, Any]:
    if scorer not in audited.results["scorers"]:
        raise InputError(
            f"{audited.label} was not scored with {scorer}; audit it again with --scorer {scorer} (samples are reused)."
        )
    block: dict[str, Any] = audited.results["scorers"][scorer]
    return block


def _curve(audited: Audited, scorer: str, over: str) -> dict[str, Any]:
    curves: dict[str, dict[str, Any]] = _block(audited, scorer)["curves"]
    if over not in curves:
        raise InputError(f"{audited.label} has one prompt, so no interval over {over}; use --over samples.")
    return curves[over]


def _at(curve: dict[str, Any], k: int) -> Number | str:
    if k not in curve["k"]:
        return ""
    i = curve["k"].index(k)
    return Number(curve["value"][i], curve["low"][i], curve["high"][i])


def _number(value: float | None) -> Number:
    return Number(math.nan if value is None else value)


def _count(k: int) -> str:
    exponent = round(math.log10(k))
    return f"10^{exponent}" if k >= 1000 and 10**exponent == k else str(k)


def _curves(audited: Audited, scorer: str, over: str) -> list[Curve]:
    label, role = audited.label, audited.results.get("role", "model")
    kind: Kind = "reference" if role == "retrained" else role if role in KINDS else "model"
    curve = _curve(audited, scorer, over)
    curves = [_drawn(label, curve, kind)]
    greedy = _block(audited, scorer)["greedy"]
    if greedy is not None:
        curves.append(Curve(f"{label}: greedy", (1,), (greedy,), kind="greedy", of=label))
    beyond = _block(audited, scorer).get("forecast")
    if beyond:
        k, value, low, high = (tuple(beyond[key]) for key in ("k", "line", "low", "high"))
        curves.append(Curve(f"{label}: forecast", k, value, low, high, kind="forecast", of=label, dashed=True))
    exact = audited.results.get("exact")
    if exact:
        curves.append(
            Curve(f"{label}: exact verbatim", tuple(exact["k"]), tuple(exact["value"]), kind="exact", of=label)
        )
    return curves


def _reference_curve(audits: Sequence[Audited], scorer: str, over: str) -> tuple[Curve, ...]:
    """The first run's reference, unless a reference is itself one of the runs."""
    block = _block(audits[0], scorer)
    if "reference" not in block or any(audited.results.get("role") in ("reference", "retrained") for audited in audits):
        return ()
    curve = block["reference"]["curves"][over]
    return (_drawn("reference", curve, "reference"),)


def _drawn(label: str, curve: dict[str, Any], kind: Kind) -> Curve:
    k, value, low, high = (tuple(curve[key]) for key in ("k", "value", "low", "high"))
    return Curve(label, k, value, low, high, kind=kind)


def _prompt_views(audited: Audited, k: int) -> list[PromptView]:
    run, block = audited.run, _block(audited, audited.scorer)
    scores = run.scores(audited.scorer)
    curve_ks = block["curves"]["samples"]["k"]
    leak = {i: row[curve_ks.index(k)] for i, row in zip(block["prompt_ids"], block["per_prompt"], strict=True)}
    greedy = _greedy_of(audited)
    views = []
    rows = zip(run.prompts, run.texts(), scores, run.logprobs(), strict=True)
    for prompt, texts, row, logprobs in rows:
        answer, hit = greedy.get(prompt.id, ("", math.nan))
        views.append(
            PromptView(
                id=prompt.id,
                question=str(prompt.question),
                answer=prompt.answer,
                leak=leak.get(prompt.id, math.nan),
                groups=group_texts(texts, row, logprobs.tolist()),
                greedy=answer,
                greedy_score=hit,
                facts=prompt.facts or tuple(sorted(keys_of(prompt))),
                model=audited.label,
            )
        )
    return views


def _greedy_of(audited: Audited) -> dict[str, tuple[str, float]]:
    """The greedy answers and scores, read from greedy/ beside the samples."""
    # greedy/ may be there and unfinished: from an audit that was then told to do without.
    if (
        _block(audited, audited.scorer)["greedy"] is None
        or not (audited.run.path / "greedy" / "manifest.json").exists()
    ):
        return {}
    run = Run.open(audited.run.path / "greedy")
    hits = [float(row[0]) for row in run.scores(audited.scorer)]
    return {i: (texts[0], hit) for i, texts, hit in zip(run.prompt_ids, run.texts(), hits, strict=True)}


def _sample_text(audited: Audited) -> str:
    """The first sample of the first prompt: numbers mean little beside broken text."""
    text = audited.run.texts()[0][0].strip()
    return text if len(text) <= 90 else text[:87] + "..."
