"""The ladder in a report: what a model says as asked, under each probe and each attack, from the summary of an audit under attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from leakatk.files.writing import read_kept
from leakatk.report.content import Bar, Cell, Ladder, Number, Table
from leakatk.text import percent, weights_sentence

ASSUMES = "it assumes"
PLACE = Path("attacks") / "attacks.json"  # in the directory of an audit


def read_ladder(run: Path) -> dict[str, Any] | None:
    """The summary of the attacks beside an audit; None where there were none."""
    return read_kept(run / PLACE) if (run / PLACE).exists() else None


def tables(summary: Mapping[str, Any], scorer: str = "") -> list[Table]:
    """The summary as tables: leak@k at the first and the last k, and what the attacks that read say, and the worst case.

    scorer: a label among those of the summary; "" is the first.
    """
    first = scorer or next(iter(summary["rungs"][0]["scorers"]))
    ks = list(dict.fromkeys([summary["k"][0], summary["k"][-1]]))
    paired = bool(summary["retrained"])
    columns = ["attack", *(f"leak@{k}" for k in ks)]
    columns += [f"{word} @{k}" for word in ("retrained", "excess") for k in ks] if paired else []
    columns.append(ASSUMES)
    parts = ("leak", "retrained", "excess") if paired else ("leak",)
    rows: list[tuple[Cell, ...]] = [
        (row.name, *(_at(row.block.get(part), k) for part in parts for k in ks), row.access)
        for row in _rows(summary, first)
    ]
    weights = weights_sentence(summary.get("weights_sha256", {}))
    weights = f" {weights}" if weights else ""
    share = f"{summary['level']:.0%} intervals over {summary['over']}"
    together = f"in each column those of all {len(rows)} rows hold together (each at {summary['each_level']:.2%})"
    notes = ""
    if any(row.name.endswith(" *") for row in _rows(summary, first)):
        notes += " * gives the answer away: read its excess; it does not count in the last row."
    if summary.get("any"):
        notes += (
            " Any of them at k: the most leaking of k samples on every rung, which uses that many times the samples; its floor "
            "is the retrained model, taken in the same way."
        )
    found = [
        Table(
            f"Leak under attack, scorer {first}", tuple(columns), tuple(rows), f"{share}; {together}.{notes}{weights}"
        )
    ]
    found += turned_table(summary, first, paired)
    if summary["reads"]:
        names = ("attack", "chance", "model", *(("retrained", "excess") if paired else ()))
        lines = tuple(
            (one["name"], Number(_float(one["chance"])), *(_number(one.get(part)) for part in names[2:]))
            for one in summary["reads"]
        )
        caption = f"Mean over the prompts, no samples; {summary['level']:.0%} intervals over prompts"
        caption += f"; in each column those of all {len(lines)} rows hold together." if len(lines) > 1 else "."
        found.append(Table("What is read without samples", names, lines, caption + weights))
    for one in summary["reads"]:
        found += _places(one, paired, summary["level"])
    return found + worst_table(summary, first)


def turned_table(summary: Mapping[str, Any], scorer: str, paired: bool) -> list[Table]:
    """Greedy answers that the questions of an attack turn, of forget and of retain prompts; none where they were not counted."""
    roles = ("model", "retrained") if paired else ("model",)
    rows = [(rung["name"], *_shares(rung["turned"], roles)) for rung in summary["rungs"] if "turned" in rung]
    if not rows:
        return []
    columns = ["attack"]
    for role in roles:
        columns += [f"{role}: {word}" for word in ("recovered", "of", "destroyed", "of")]
    caption = (
        "Recovered: share of the forget prompts not answered as they stand. Destroyed: share of the retain prompts that are. "
        f"{summary['each_level']:.2%} intervals over prompts."
    )
    return [Table(f"Greedy answers that the questions turn, scorer {scorer}", tuple(columns), tuple(rows), caption)]


def _shares(counts: Mapping[str, Any], roles: Sequence[str]) -> list[Cell]:
    """Cells of `turned`, those of each model; of one that was not asked they say so."""
    cells: list[Cell] = []
    for role in roles:
        for name in ("recovered", "destroyed"):
            one = counts.get(role, {}).get(name)
            cells += [_number(one), str(one["of"])] if one else [Number(math.nan), "not asked"]
    return cells


def _places(one: Mapping[str, Any], paired: bool, level: float) -> list[Table]:
    """The profile of an attack that reads, and its numbers of all prompts together."""
    found = []
    parts = ("model", *(("retrained", "excess") if paired else ()))
    if profile := one.get("profile"):
        lines = tuple((place, *(_number(block.get(part)) for part in parts)) for place, block in profile.items())
        caption = f"Mean over the prompts that have a number there; {level:.0%} intervals over prompts"
        caption += f", which in each column hold together for all {len(lines)} rows." if len(lines) > 1 else "."
        found.append(Table(f"{one['name']} by place", ("place", *parts), lines, caption))
    if whole := one.get("whole"):
        roles = parts[:2]
        rows = tuple((name, *(Number(_float(values.get(role))) for role in roles)) for name, values in whole.items())
        caption = "Numbers of all prompts together, without intervals."
        found.append(Table(f"{one['name']}, all prompts together", ("what", *roles), rows, caption))
    return found


@dataclass(frozen=True)
class _Row:
    """A row of the ladder. block: leak, retrained and excess by k."""

    name: str
    access: str
    block: Mapping[str, Any]


def _rows(summary: Mapping[str, Any], scorer: str) -> list[_Row]:
    """The rungs, and all of them together."""
    found = []
    for rung in summary["rungs"]:
        name = {"probe": f"probe {rung['name']}", "none": "as asked"}.get(rung["kind"], rung["name"])
        if left := rung.get("not_asked", {}).get("model"):
            name += ", not asked" if left == summary["m"] else f", {left} of {summary['m']} not asked"
        found.append(
            _Row(f"{name} *" if rung.get("gives_answer") else name, rung.get("access", ""), rung["scorers"][scorer])
        )
    if together := summary.get("any"):
        found.append(_Row(f"any of {together['rungs']} rungs", "all of these", together["scorers"][scorer]))
    return found


def ladder_of(summary: Mapping[str, Any], label: str, *, k: int | None = None) -> Ladder:
    """What a report shows of a ladder. k: of the drawing; the largest where it is not one of the summary's."""
    scorer = next(iter(summary["rungs"][0]["scorers"]))
    shown = k if k is not None and k in summary["k"] else int(summary["k"][-1])
    bars = tuple(
        Bar(row.name, row.access, _at(row.block.get("leak"), shown), _at(row.block.get("retrained"), shown))
        for row in _rows(summary, scorer)
    )
    notes = tuple(line for line in (stored_line(summary), *said(summary)) if line)
    return Ladder(f"{label}: asked, probed, attacked", shown, scorer, bars, tuple(tables(summary)), notes)


def worst_table(summary: Mapping[str, Any], scorer: str) -> list[Table]:
    """The worst case as a table; none with fewer than two attacks that are sampled."""
    found = summary.get("worst", {}).get(scorer)
    if not found:
        return []
    ks = list(dict.fromkeys([summary["k"][0], summary["k"][-1]]))
    lines = []
    for key, what in (("among", "the largest of all"), ("picked", "picked on other prompts")):
        if curve := found.get(key):
            cells: list[Any] = [what]
            for k in ks:
                at = curve["k"].index(k)
                names = curve["attack"][at]
                label = names if isinstance(names, str) else " / ".join(dict.fromkeys(names))
                cells += [label, Number(curve["value"][at], curve["low"][at], curve["high"][at])]
            lines.append(tuple(cells))
    columns = ("worst case", *(name for k in ks for name in (f"attack @{k}", f"{found['of']} @{k}")))
    caption = (
        f"Over {len(found['attacks'])} attacks. The largest: its interval holds for all of them at once (Bonferroni), as in the "
        "first table."
    )
    if "picked" in found:
        caption += (
            " Picked: the worst on one half of the prompts, measured on the other, and the other way round; "
            f"{summary['level']:.0%} by itself."
        )
    if found["not_picked"]:
        caption += f" Not to be picked, for want of some scores: {', '.join(found['not_picked'])}."
    return [Table(f"Worst case, scorer {scorer}", columns, tuple(lines), caption)]


def assumes_line(summary: Mapping[str, Any]) -> str:
    """What each attack assumes, in a line."""
    named = [(one["name"], one["access"]) for one in [*summary["rungs"], *summary["reads"]] if one["kind"] != "none"]
    return "Assumed: " + "; ".join(f"{name}: {access}" for name, access in named) + "."


def stored_line(summary: Mapping[str, Any]) -> str:
    """What relearning finds still stored, beside what asking shows, in a sentence; "" where it was not measured."""
    found = summary.get("stored")
    if not found:
        return ""
    shown = next(iter(summary["rungs"][0]["scorers"].values())).get("excess")
    first, last = found["k"]
    ks = f"k = {first}" if first == last else f"k = {first} and {last}"
    asked = f"asked, it says {_ends(shown)}; " if shown else ""
    return (
        f"Beyond the retrained model attacked in the same way, at {ks}: {asked}after {found['rung']}, trained on other "
        f"forgotten facts than it is measured on, {_ends(found)} are found still stored."
    )


def _ends(curve: Mapping[str, Any]) -> str:
    """The first and the last point of a curve, with their intervals."""
    parts = [
        f"{percent(curve['value'][i])} ({percent(curve['low'][i])} to {percent(curve['high'][i])})" for i in (0, -1)
    ]
    return " and ".join(dict.fromkeys(parts))


def said(summary: Mapping[str, Any]) -> list[str]:
    """What was left out, as sentences."""
    found = []
    for rung in summary["rungs"]:
        for scorer, block in rung["scorers"].items():
            for key, what in (
                ("left_out", "are not asked by the attack"),
                ("undefined", "have no score"),
                ("unpaired", "have no partner in the retrained model's run"),
            ):
                if ids := block.get(key):
                    found.append(f"{rung['name']}, {scorer}: {len(ids)} of {summary['m']} prompts {what}.")
            if block["missing"]:
                found.append(f"{rung['name']}, {scorer}: {block['missing']:,} answers have no score.")
        if (given := rung.get("gives_away")) and (given["prompts"] or given["words"]):
            found.append(
                f"{rung['name']}: what it is trained on holds {given['words']:.1%} of the words of the answers that are measured, and all "
                f"key values of {given['prompts']:.1%} of the prompts in one text; the retrained model is given the same."
            )
    for one in summary["reads"]:
        if one["undefined"]:
            found.append(f"{one['name']}: {len(one['undefined'])} of {summary['m']} prompts have no score.")
    return found


def _at(curve: Mapping[str, Any] | None, k: int) -> Number:
    if curve is None:
        return Number(math.nan)
    i = curve["k"].index(k)
    value, low, high = (_float(curve[part][i]) for part in ("value", "low", "high"))
    return Number(value, low, high)


def _number(value: Mapping[str, Any] | None) -> Number:
    if value is None:
        return Number(math.nan)
    return Number(_float(value["value"]), _float(value["low"]), _float(value["high"]))


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)
