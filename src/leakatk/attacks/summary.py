"""The numbers of an audit under attack: leak@k and excess a rung, the attacks that read in a column of their own, as tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.attacks import turned
from leakatk.attacks.base import Floats, Read
from leakatk.attacks.rungs import LadderSettings, Role, Rung
from leakatk.auditing.score import score
from leakatk.auditing.summary import curve_dict
from leakatk.estimate.curves import Over
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.writing import read_kept
from leakatk.report.content import Cell, Number, Table
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer
from leakatk.text import weights_sentence

Rows = dict[str, Floats]


def summarise(
    rungs: Sequence[Rung], out: Path, names: Mapping[Role, str], settings: LadderSettings, notes: Sequence[str]
) -> dict[str, Any]:
    """What attacks.json holds. names: the models that were attacked.

    rungs: of those that are sampled, with the curves of each scorer.  reads: of those that read.  each_level: of one
    interval, so that in each column those of all rungs hold together at `level`.
    """
    sampled = [rung for rung in rungs if not isinstance(rung.attack, Read)]
    reads = [rung for rung in rungs if isinstance(rung.attack, Read)]
    each = 1 - (1 - settings.level) / len(sampled)
    each_read = 1 - (1 - settings.level) / max(len(reads), 1)
    asked = [prompt.id for prompt in rungs[0].parts[0].unseen]
    return {
        "format": 1,
        "model": names["model"],
        "retrained": names.get("retrained", ""),
        "weights_sha256": {
            names[role]: str(Run.open(out / sampled[0].place(0) / role).manifest.model.get("weights_sha256", ""))
            for role in names
        },
        "benchmark": settings.benchmark,
        "m": len(asked),
        "n": settings.n,
        "k": list(settings.ks),
        "decoding": settings.decoding.label,
        "seed": settings.seed,
        "folds": settings.folds if any(len(rung.parts) > 1 for rung in rungs) else 0,
        "over": settings.over,
        "level": settings.level,
        "each_level": each,
        "each_read_level": each_read,
        "rungs": [
            {
                **_about(rung),
                "scorers": {
                    get_scorer(name).label: _leaks(rung, out, name, asked, names, settings, each)
                    for name in settings.scorers
                },
                **_turned(rung, out, names, settings, each),
            }
            for rung in sampled
        ],
        "reads": [{**_about(rung), **_read(rung, out, asked, names, each_read)} for rung in reads],
        "notes": list(dict.fromkeys(notes)),
    }


def _about(rung: Rung) -> dict[str, Any]:
    facts = rung.attack.facts if rung.attack else None
    return {
        "name": rung.name,
        "kind": facts.kind if facts else "none",
        "access": facts.access if facts else "questions",
        "folds": len(rung.parts) if len(rung.parts) > 1 else 0,
    }


def _leaks(
    rung: Rung,
    out: Path,
    scorer: str,
    asked: Sequence[str],
    names: Mapping[Role, str],
    settings: LadderSettings,
    each: float,
) -> dict[str, Any]:
    """One scorer on one rung. left_out: prompts that the attack does not ask; undefined: those the scorer cannot score."""
    mine = _rows(rung, out, "model", scorer)
    kept = [i for i in asked if i in mine and np.isfinite(mine[i]).any()]
    found: dict[str, Any] = {
        "m": len(kept),
        "left_out": [i for i in asked if i not in mine],
        "undefined": [i for i in asked if i in mine and i not in kept],
        "missing": sum(int(np.isnan(mine[i]).sum()) for i in kept),
    }
    how: dict[str, Any] = {"level": each, "missing": "allow"}
    if kept:
        over = _over(settings.over, kept)
        found |= {"over": over, "leak": curve_dict(leak_at_k([mine[i] for i in kept], settings.ks, over=over, **how))}
    if "retrained" not in names:
        return found
    theirs = _rows(rung, out, "retrained", scorer)
    both = [i for i in kept if i in theirs and np.isfinite(theirs[i]).any()]
    found["unpaired"] = [i for i in kept if i not in both]
    if both:
        over = _over(settings.over, both)
        a, b = [mine[i] for i in both], [theirs[i] for i in both]
        found["retrained"] = curve_dict(leak_at_k(b, settings.ks, over=over, **how))
        found["excess"] = curve_dict(excess(a, b, settings.ks, over=over, **how))
    return found


def _turned(rung: Rung, out: Path, names: Mapping[Role, str], settings: LadderSettings, level: float) -> dict[str, Any]:
    """Which greedy answers the questions of an attack turn, of each model; nothing where that was not asked."""
    place = out / rung.place(0)
    if rung.attack is None or not (place / turned.FOLDER).exists():
        return {}
    return {"turned": {role: turned.counted(out, place, role, settings.scorers[0], level) for role in names}}


def _over(over: Over, ids: Sequence[str]) -> Over:
    """One prompt alone has no interval over prompts."""
    return over if len(ids) > 1 else "samples"


def _rows(rung: Rung, out: Path, role: Role, scorer: str) -> Rows:
    """Prompt id -> (n,) scores over all parts of a rung."""
    rows: Rows = {}
    for number in range(len(rung.parts)):
        run = Run.open(out / rung.place(number) / role)
        rows.update(zip(run.prompt_ids, score(run, scorer), strict=True))
    return rows


def _read(rung: Rung, out: Path, asked: Sequence[str], names: Mapping[Role, str], level: float) -> dict[str, Any]:
    """Mean score of an attack that reads, with its interval over prompts."""
    assert rung.attack is not None
    mine = _kept(rung, out, "model")
    ids = [i for i in asked if not math.isnan(mine[i])]
    found: dict[str, Any] = {
        "chance": rung.attack.facts.chance,
        "m": len(ids),
        "undefined": [i for i in asked if i not in ids],
        "per_prompt": mine,
    }
    if ids:
        found["model"] = _mean([mine[i] for i in ids], level)
    if "retrained" in names:
        theirs = _kept(rung, out, "retrained")
        both = [i for i in ids if not math.isnan(theirs[i])]
        found["unpaired"] = [i for i in ids if i not in both]
        if both:
            found["retrained"] = _mean([theirs[i] for i in both], level)
            a, b = ([[rows[i]] for i in both] for rows in (mine, theirs))
            curve = excess(a, b, 1, over="prompts", level=level) if len(both) > 1 else None
            value = float(np.mean(np.array(a) - np.array(b)))
            found["excess"] = {
                "value": value,
                "low": float(curve.low[0]) if curve else math.nan,
                "high": float(curve.high[0]) if curve else math.nan,
            }
    return found


def _mean(scores: Sequence[float], level: float) -> dict[str, float]:
    """A mean with its interval over prompts, of which one prompt has none."""
    if len(scores) < 2:
        return {"value": float(np.mean(scores)), "low": math.nan, "high": math.nan}
    curve = leak_at_k([[one] for one in scores], 1, over="prompts", level=level)
    return {"value": float(curve.value[0]), "low": float(curve.low[0]), "high": float(curve.high[0])}


def _kept(rung: Rung, out: Path, role: Role) -> dict[str, float]:
    """Prompt id -> score over all parts."""
    found: dict[str, float] = {}
    for number in range(len(rung.parts)):
        held = read_kept(out / rung.place(number) / f"{role}.json")
        found.update(
            (i, math.nan if one is None else float(one)) for i, one in zip(held["ids"], held["scores"], strict=True)
        )
    return found


def tables(summary: Mapping[str, Any], scorer: str = "") -> list[Table]:
    """The summary as tables: leak@k at the first and the last k, and what the attacks that read say.

    scorer: a label among those of the summary; "" is the first.
    """
    first = scorer or next(iter(summary["rungs"][0]["scorers"]))
    ks = list(dict.fromkeys([summary["k"][0], summary["k"][-1]]))
    paired = bool(summary["retrained"])
    columns = ["attack", *(f"leak@{k}" for k in ks)]
    columns += [f"{word} @{k}" for word in ("retrained", "excess") for k in ks] if paired else []
    rows: list[tuple[Cell, ...]] = []
    for rung in summary["rungs"]:
        block = rung["scorers"][first]
        parts = ("leak", "retrained", "excess") if paired else ("leak",)
        rows.append((rung["name"], *(_at(block.get(part), k) for part in parts for k in ks)))
    weights = weights_sentence(summary.get("weights_sha256", {}))
    weights = f" {weights}" if weights else ""
    share = f"{summary['level']:.0%} intervals over {summary['over']}"
    together = f"in each column those of all {len(rows)} rows hold together (each at {summary['each_level']:.2%})"
    found = [Table(f"Leak under attack, scorer {first}", tuple(columns), tuple(rows), f"{share}; {together}.{weights}")]
    if rows := [(rung["name"], *_shares(rung["turned"])) for rung in summary["rungs"] if "turned" in rung]:
        columns = ["attack"]
        for role in ("model", "retrained") if paired else ("model",):
            columns += [f"{role}: {word}" for word in ("recovered", "of", "destroyed", "of")]
        caption = (
            f"Recovered: share of the forget prompts not answered as they stand. Destroyed: share of the retain prompts that are. \
{summary['each_level']:.2%} intervals over prompts."
        )
        found.append(
            Table(f"Greedy answers that the questions turn, scorer {first}", tuple(columns), tuple(rows), caption)
        )
    if summary["reads"]:
        names = ("attack", "chance", "model", *(("retrained", "excess") if paired else ()))
        lines = tuple(
            (one["name"], Number(_float(one["chance"])), *(_number(one.get(part)) for part in names[2:]))
            for one in summary["reads"]
        )
        caption = f"Mean over the prompts, no samples; {summary['level']:.0%} intervals over prompts"
        caption += f"; in each column those of all {len(lines)} rows hold together." if len(lines) > 1 else "."
        found.append(Table("What is read without samples", names, lines, caption + weights))
    return found


def _shares(counts: Mapping[str, Any]) -> list[Cell]:
    """Cells of `turned`, the model's and the retrained one's."""
    roles = [counts[role] for role in ("model", "retrained") if role in counts]
    return [
        cell
        for one in roles
        for name in ("recovered", "destroyed")
        for cell in (_number(one[name]), str(one[name]["of"]))
    ]


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
