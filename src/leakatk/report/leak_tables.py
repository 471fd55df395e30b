"""Tables of audited runs: leak@k of each, under other scorers, other ways of asking, beyond the samples drawn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from leakatk.report.audited import Audited, at, block_of, curve_of, number, weights_note
from leakatk.report.content import Number, Table
from leakatk.report.headline import conditions, headline_k
from leakatk.runs.results import LeakResult, ScorerResult
from leakatk.text import bound

TABLE_KS = (1, 4, 16, 64, 128)
EXACT = "verbatim@k: exact, from the probability of the true answer."


def methods_table(audits: Sequence[Audited], *, over: str = "samples", texts: bool = True) -> Table:
    """One row a model: greedy, leak@k with intervals, excess, exact verbatim leak, retain, and where wanted a sample text."""
    scorer, told_k = audits[0].scorer, headline_k(audits)
    ks = columns_of(audits, scorer, over)
    excess_k = excess_k_of(audits, scorer, over, told_k)
    with_exact = any(a.results.exact for a in audits)
    with_retain = any(block_of(a, scorer).retain is not None for a in audits)
    exact_ks: list[int] = next((list(a.results.exact.k) for a in audits if a.results.exact), [])
    exact_ks = [k for k in exact_ks if k > 1]
    with_greedy = any(not math.isnan(block_of(a, scorer).greedy) for a in audits)
    columns = ["model", *(["greedy"] if with_greedy else []), *(f"leak@{k}" for k in ks)]
    columns += [f"excess@{excess_k}"] if excess_k else []
    columns += [f"verbatim@{_count(k)}" for k in exact_ks] if with_exact else []
    columns += ["retain"] if with_retain else []
    columns += ["a sample"] if texts else []
    rows = []
    for audited in audits:
        block, curve = block_of(audited, scorer), curve_of(audited, scorer, over)
        row: list[str | Number] = [audited.label, *([number(block.greedy)] if with_greedy else [])]
        row += [at(curve, k) for k in ks]
        if excess_k:
            row.append(at(block.excess[over], excess_k) if block.excess else "")
        if with_exact:
            exact = audited.results.exact
            row += [Number(exact.value[exact.k.index(k)]) if exact else "" for k in exact_ks]
        if with_retain:
            row.append(number(block.retain))
        row += [_sample_text(audited)] if texts else []
        rows.append(tuple(row))
    caption = conditions(audits, scorer, over)
    if excess_k and excess_k < told_k:
        caption += f" The excess is at k = {excess_k}: the retrained model has no samples for more."
    caption += weights_note(audits)
    if exact_ks:
        caption += f" {EXACT}"
    return Table("Models", tuple(columns), tuple(rows), caption)


def columns_of(audits: Sequence[Audited], scorer: str, over: str) -> list[int]:
    """The k of the columns: the usual ones that all runs have, and the headline's."""
    shared = set.intersection(*(set(curve_of(a, scorer, over).k) for a in audits))
    return sorted({*TABLE_KS, headline_k(audits)} & shared) or sorted(shared)


def excess_k_of(audits: Sequence[Audited], scorer: str, over: str, most: int) -> int:
    """The largest k, at most `most`, at which any run has an excess; 0 where none has."""
    blocks = (block_of(audited, scorer) for audited in audits)
    return max((k for block in blocks if block.excess for k in block.excess[over].k if k <= most), default=0)


def other_scorers_table(audits: Sequence[Audited], *, over: str) -> Table | None:
    """leak@k under the scorers that are not the headline."""
    names = [name for name in audits[0].results.scorers if name != audits[0].scorer]
    if not names:
        return None
    ks = columns_of(audits, audits[0].scorer, over)
    rows = [
        (
            audited.label,
            name,
            number(block_of(audited, name).greedy),
            *(at(curve_of(audited, name, over), k) for k in ks),
        )
        for name in names
        for audited in audits
        if name in audited.results.scorers
    ]
    caption = " ".join(conditions([a for a in audits if name in a.results.scorers], name, over) for name in names)
    caption += weights_note(audits)
    return Table("Other scorers", ("model", "scorer", "greedy", *(f"leak@{k}" for k in ks)), tuple(rows), caption)


def probes_table(audits: Sequence[Audited], *, over: str) -> Table | None:
    """leak@k by the way of asking and in what the model thinks, and the worst case over the ways."""
    probed = [audited for audited in audits if audited.results.probes or audited.results.reasoning]
    if not probed:
        return None
    scorer, told_k = probed[0].scorer, headline_k(probed)
    ks = columns_of(probed, scorer, over)
    excess_k = excess_k_of(probed, scorer, over, told_k)
    with_excess = bool(excess_k)
    columns = ("model", "asked", "greedy", *(f"leak@{k}" for k in ks), *([f"excess@{excess_k}"] if with_excess else []))
    rows: list[tuple[str | Number, ...]] = []
    notes: dict[str, None] = {}
    for audited in probed:
        results = audited.results
        blocks: dict[str, ScorerResult | LeakResult] = {"as it stands": block_of(audited, scorer)}
        if results.reasoning:
            blocks["as it stands, in the reasoning"] = results.reasoning.scorers[scorer]
        for name, found in (results.probes or {}).items():
            blocks[f"{name} *" if found.gives_answer else name] = found.scorers[scorer]
            if found.left_out:
                notes[f"{name} leaves out {len(found.left_out)} prompts that it cannot ask so."] = None
        if worst := results.worst:
            blocks[f"worst of {worst.ways:.3g} ways"] = worst.scorers[scorer]
        for name, block in blocks.items():
            greedy = number(block.greedy) if isinstance(block, ScorerResult) else ""
            row = (audited.label, name, greedy, *(at(block.curves[over], k) for k in ks))
            rows.append((*row, at(block.excess[over], excess_k) if block.excess else "") if with_excess else row)
    if any(name.endswith(" *") for _, name, *_ in rows if isinstance(name, str)):
        notes["* gives the answer away: read its excess; it is no part of the worst case."] = None
    caption = (
        f"{conditions(probed, scorer, over)} A prompt with several variants under a probe "
        "counts their mean. The worst case at k takes the most leaking of k samples of every way of asking, so it uses that "
        "many times the samples and does not compare with leak@k of one way at the same k."
        f"{weights_note(probed)}"
    )
    return Table("By the way of asking", columns, tuple(rows), " ".join([caption, *notes]))


def flagged_table(audits: Sequence[Audited]) -> Table | None:
    """What the guards around models acted on: a row a group of prompts, those that must be answered among them."""
    found = [(audited, audited.results.guard) for audited in audits if audited.results.guard]
    if not found:
        return None
    rows: list[tuple[str | Number, ...]] = []
    notes: dict[str, None] = {}
    for audited, guard in found:
        if not guard.groups.keys() & {"retain", "neighbours"}:
            notes[
                f"No prompts that must be answered were given for {audited.label}: its false refusals are unknown."
            ] = None
        if guard.always:
            notes[f"{guard.name} has no detector: it acts on whatever is asked, more or less."] = None
        for name, group in guard.groups.items():
            fitted = name == "retain" and group.fitted > 0
            shown = f"{name} *" if fitted else name
            rows.append(
                (audited.label, shown, f"{group.flagged:,} of {group.m:,}", Number(group.value, group.low, group.high))
            )
            if fitted:
                notes[
                    f"* the detector was fitted on {group.fitted:,} of these; other prompts may be flagged more often."
                ] = None
    level = found[0][0].results.level
    caption = (
        "Of prompts that must be answered (retain, neighbours) this is the share of false refusals. "
        f"{level:.0%} intervals for other prompts like these (Clopper-Pearson)."
    )
    return Table(
        "Flagged by the guard", ("model", "prompts", "flagged", "share"), tuple(rows), " ".join([caption, *notes])
    )


def forecast_table(audits: Sequence[Audited], scorer: str) -> Table | None:
    """What is guaranteed, and what a model says, beyond the samples drawn."""
    found = [(audited, block_of(audited, scorer).forecast) for audited in audits]
    blocks = [(audited, block) for audited, block in found if block]
    if not blocks:
        return None
    ks = blocks[0][1].k
    rows = []
    for audited, block in blocks:
        cells: list[str | Number] = [audited.label]
        for k in ks:
            if k not in block.k:
                cells.append("")
                continue
            i = block.k.index(k)
            cells.append(
                f"{bound(block.low[i])} to {bound(block.high[i])} ({block.low_by[i]}, {block.high_by[i]}); "
                f"line {block.line[i]:.3f}"
            )
        rows.append(tuple(cells))
    level = audits[0].results.level
    caption = (
        f"Guaranteed bounds ({level:.0%}) and the instrument that gave each side: counts (every distribution of leak "
        "probabilities the counts do not refute) or exact (masses of the distinct answers seen). The line carries the "
        "maximum-likelihood mixture on: a model, without any guarantee."
        f"{weights_note([audited for audited, _ in blocks])}"
    )
    return Table("Beyond the samples drawn", ("model", *(f"leak@{_count(k)}" for k in ks)), tuple(rows), caption)


def bounds_table(audits: Sequence[Audited], scorer: str) -> Table | None:
    """What the probabilities of whole answers alone make certain, where the answer trees were expanded."""
    found = [(audited, block_of(audited, scorer).bounds) for audited in audits if audited.results.expansion]
    blocks = [(audited, block) for audited, block in found if block]
    if not blocks:
        return None
    rows: list[tuple[str | Number, ...]] = [
        (
            audited.label,
            *(f"{bound(low)} to {bound(high)}" for low, high in zip(block.low, block.high, strict=True)),
            Number(block.unknown),
            f"{(audited.results.expansion or {}).get('prefixes', 0):,}",
        )
        for audited, block in blocks
    ]
    caption = (
        "Certain, not estimated: the answers met by expanding the most probable beginnings (and by sampling) have known "
        "probabilities; what they do not cover may all leak, or not at all. unknown: that mass, mean over prompts."
        f"{weights_note([audited for audited, _ in blocks])}"
    )
    heads = ("model", *(f"leak@{_count(k)}" for k in blocks[0][1].k), "unknown", "beginnings expanded")
    return Table("Exact expansion", heads, tuple(rows), caption)


def halves(table: Table) -> tuple[Table, ...]:
    """The methods table as two that fit a page: the leak with what forgetting cost, and what else is known of each model."""
    rest = [i for i, name in enumerate(table.columns) if name.startswith("verbatim@") or name == "a sample"]
    leak = [i for i in range(len(table.columns)) if i not in rest]
    about, exact = captions(table)
    first = replace(select(table, leak, about), title=table.title)
    if not rest:
        return (first,)
    sample = ", and a sample" if "a sample" in table.columns else ""
    return (first, replace(select(table, [0, *rest], exact), title=f"The true answer word for word{sample}"))


def captions(table: Table) -> tuple[str, str]:
    """The caption of the methods table, for the columns of the leak and for those of the true answer."""
    return (table.caption.removesuffix(f" {EXACT}"), EXACT) if table.caption.endswith(EXACT) else (table.caption, "")


def select(table: Table, keep: Sequence[int], caption: str) -> Table:
    """Some columns of a table, without its title."""
    rows = tuple(tuple(row[i] for i in keep) for row in table.rows)
    return Table("", tuple(table.columns[i] for i in keep), rows, caption)


def _count(k: int) -> str:
    exponent = round(math.log10(k))
    return f"10^{exponent}" if k >= 1000 and 10**exponent == k else str(k)


def _sample_text(audited: Audited) -> str:
    """The first sample of the first prompt: numbers mean little beside broken text."""
    text = audited.run.texts()[0][0].strip()
    return text if len(text) <= 90 else text[:87] + "..."
