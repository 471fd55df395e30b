"""The numbers of an audit under attack: leak@k and excess a rung, the attacks that read in a column of their own, as tables."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.attacks.base import Floats, Read
from leakatk.attacks.lessons import given_away
from leakatk.attacks.rungs import LadderSettings, Role, Rung
from leakatk.attacks.turned import FOLDER, counted
from leakatk.attacks.worst import worst
from leakatk.auditing.asking import most_leaking
from leakatk.auditing.score import score
from leakatk.auditing.summary import curve_dict
from leakatk.estimate.curves import Over
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.files.writing import read_kept
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer

Rows = dict[str, Floats]


def summarise(
    rungs: Sequence[Rung], out: Path, names: Mapping[Role, str], settings: LadderSettings, notes: Sequence[str]
) -> dict[str, Any]:
    """What attacks.json holds. names: the models that were attacked.

    rungs: of those that are sampled, with the curves of each scorer.  reads: of those that read.  any: what leaks on any of
    the rungs, where an audit stands below them.  stored: what relearning finds.  each_level: of one interval, so that in
    each column those of all rungs hold together at `level`.
    """
    sampled = [rung for rung in rungs if not isinstance(rung.attack, Read)]
    reads = [rung for rung in rungs if isinstance(rung.attack, Read)]
    with_any = any(rung.audited for rung in sampled)
    each = 1 - (1 - settings.level) / (len(sampled) + with_any)
    each_read = 1 - (1 - settings.level) / max(len(reads), 1)
    asked = [prompt.id for prompt in rungs[0].parts[0].unseen]
    labels = {get_scorer(name).label: name for name in settings.scorers}
    found = [
        {
            **_about(rung),
            **_not_asked(rung, out, names),
            "scorers": {label: _leaks(rung, out, name, asked, names, settings, each) for label, name in labels.items()},
            **_turned(rung, out, names, settings, each),
        }
        for rung in sampled
    ]
    return {
        "format": 1,
        "model": names["model"],
        "retrained": names.get("retrained", ""),
        "weights_sha256": {
            names[role]: str(Run.open(sampled[0].run(out, 0, role)).manifest.model.get("weights_sha256", ""))
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
        "rungs": found,
        "any": _any(sampled, out, names, settings, each) if with_any else None,
        "worst": {
            label: _worst(
                [rung for rung in sampled if rung.attack],
                [one for one in found if one["kind"] not in ("none", "probe")],
                out,
                name,
                label,
                names,
                settings,
            )
            for label, name in labels.items()
        },
        "stored": stored([rung.name for rung in sampled if rung.attack and rung.attack.fitted], found),
        "reads": [{**_about(rung), **_read(rung, out, asked, names, each_read)} for rung in reads],
        "notes": list(dict.fromkeys(notes)),
    }


def _about(rung: Rung) -> dict[str, Any]:
    about = {
        "name": rung.name,
        "kind": rung.kind,
        "access": rung.attack.facts.access if rung.attack else "questions",
        "folds": len(rung.parts) if len(rung.parts) > 1 else 0,
        **_given_away(rung),
    }
    return {**about, "gives_answer": rung.gives_answer} if rung.probe else about


def _not_asked(rung: Rung, out: Path, names: Mapping[Role, str]) -> dict[str, Any]:
    """Of each model, how many prompts are in parts in which the attack found nothing to ask; {} where there is none."""
    found = {
        role: sum(len(part.unseen) for i, part in enumerate(rung.parts) if not rung.asked(out, i, role))
        for role in names
    }
    return {"not_asked": found} if any(found.values()) else {}


def _given_away(rung: Rung) -> dict[str, Any]:
    """What the attack's texts give away of the answers that are measured, over all parts; {} for one that brings none."""
    parts = [(rung.attack.brings(part), part.unseen) for part in rung.parts] if rung.attack else []
    if not any(texts for texts, _ in parts):
        return {}
    total = sum(len(measured) for _, measured in parts)
    shares = [(given_away(texts, measured), len(measured) / total) for texts, measured in parts]
    return {"gives_away": {key: sum(found[key] * share for found, share in shares) for key in ("prompts", "words")}}


def _worst(
    rungs: Sequence[Rung],
    found: Sequence[Mapping[str, Any]],
    out: Path,
    scorer: str,
    label: str,
    names: Mapping[Role, str],
    settings: LadderSettings,
) -> dict[str, Any]:
    """The worst case of one scorer over attacks, whose numbers were found."""
    rows = {
        rung.name: (
            _rows(rung, out, "model", scorer),
            _rows(rung, out, "retrained", scorer) if "retrained" in names else None,
        )
        for rung in rungs
    }
    blocks = {one["name"]: one["scorers"][label] for one in found}
    return worst(blocks, rows, settings.ks, over=settings.over, level=settings.level, seed=settings.seed)


def _leaks(
    rung: Rung,
    out: Path,
    scorer: str,
    asked: Sequence[str],
    names: Mapping[Role, str],
    settings: LadderSettings,
    each: float,
) -> dict[str, Any]:
    """One scorer on one rung. left_out: prompts that the attack does not ask; undefined: what the scorer cannot score."""
    mine = _rows(rung, out, "model", scorer)
    theirs = _rows(rung, out, "retrained", scorer) if "retrained" in names else None
    there = {rung.owner(i) for i in mine}
    left_out = [i for i in asked if i not in there]
    order = [i for i in asked if i in mine] if not rung.probe else list(mine)
    return {"left_out": left_out, **_curves(mine, theirs, order, rung.owner, settings, each)}


def _any(
    rungs: Sequence[Rung], out: Path, names: Mapping[Role, str], settings: LadderSettings, each: float
) -> dict[str, Any]:
    """What leaks on any rung: sample j of a prompt is the most leaking of its j-th samples on all of them.

    Rungs that give the answer away do not count. The retrained model's floor is made in the same way.
    """
    honest = [rung for rung in rungs if not rung.gives_answer]

    def rows(role: Role, scorer: str) -> Rows:
        found: dict[str, list[Floats]] = {}
        for rung in honest:
            for i, row in _rows(rung, out, role, scorer).items():
                found.setdefault(rung.owner(i), []).append(row)
        return most_leaking(found)

    scorers = {}
    for name in settings.scorers:
        mine = rows("model", name)
        theirs = rows("retrained", name) if "retrained" in names else None
        scorers[get_scorer(name).label] = _curves(mine, theirs, list(mine), str, settings, each)
    return {"rungs": len(honest), "scorers": scorers}


def stored(fitted: Sequence[str], rungs: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What relearning finds still stored: the largest excess at the last k among cross-fitted attacks; None without any.

    Trained on a part of the forgotten facts, measured on the others, less the retrained model attacked in the same way. The
    intervals of all rungs hold together, so the largest may be picked. k, value, low, high: at the first and the last k.
    fitted: names of the rungs that are cross-fitted.
    """
    found = []
    for rung in rungs:
        block = next(iter(rung["scorers"].values()))
        if rung["name"] in fitted and "excess" in block:
            ends = {part: [block["excess"][part][i] for i in (0, -1)] for part in ("k", "value", "low", "high")}
            found.append({"rung": rung["name"], **ends})
    return max(found, key=lambda one: float(one["value"][-1]), default=None)


def _curves(
    mine: Rows,
    theirs: Rows | None,
    order: Sequence[str],
    owner: Callable[[str], str],
    settings: LadderSettings,
    each: float,
) -> dict[str, Any]:
    """leak@k of these rows, and the excess over the retrained model's. owner: of an id, the prompt that it asks for."""
    kept = [i for i in order if np.isfinite(mine[i]).any()]
    defined = set(kept)
    found: dict[str, Any] = {
        "m": len(kept),
        "undefined": [i for i in order if i not in defined],
        "missing": sum(int(np.isnan(mine[i]).sum()) for i in kept),
    }

    def how(ids: Sequence[str]) -> dict[str, Any]:
        owners = [owner(i) for i in ids]
        clusters = owners if len(set(owners)) < len(owners) else None
        return {"over": _over(settings.over, owners), "level": each, "missing": "allow", "clusters": clusters}

    if kept:
        over = _over(settings.over, [owner(i) for i in kept])
        found |= {"over": over, "leak": curve_dict(leak_at_k([mine[i] for i in kept], settings.ks, **how(kept)))}
    if theirs is None:
        return found
    both = [i for i in kept if i in theirs and np.isfinite(theirs[i]).any()]
    found["unpaired"] = [i for i in kept if i not in both]
    if both:
        a, b = [mine[i] for i in both], [theirs[i] for i in both]
        found["retrained"] = curve_dict(leak_at_k(b, settings.ks, **how(both)))
        found["excess"] = curve_dict(excess(a, b, settings.ks, **how(both)))
    return found


def _turned(rung: Rung, out: Path, names: Mapping[Role, str], settings: LadderSettings, level: float) -> dict[str, Any]:
    """Which greedy answers the questions of an attack turn, of each model; nothing where that was not asked."""
    place = out / rung.place(0)
    if rung.attack is None or not (place / FOLDER).exists():
        return {}
    asked = [role for role in names if rung.asked(out, 0, role)]
    return {"turned": {role: counted(out, place, role, settings.scorers[0], level) for role in asked}}


def _over(over: Over, ids: Sequence[str]) -> Over:
    """One prompt alone has no interval over prompts."""
    return over if len(set(ids)) > 1 else "samples"


def _rows(rung: Rung, out: Path, role: Role, scorer: str) -> Rows:
    """Prompt id -> (n,) scores over all parts of a rung."""
    rows: Rows = {}
    for number in range(len(rung.parts)):
        if not rung.asked(out, number, role):
            continue
        run = Run.open(rung.run(out, number, role))
        rows.update(zip(run.prompt_ids, score(run, scorer), strict=True))
    return rows


def _read(rung: Rung, out: Path, asked: Sequence[str], names: Mapping[Role, str], level: float) -> dict[str, Any]:
    """Mean score of an attack that reads, with its interval over prompts; the same at each place of its profile.

    profile: in each of its columns the intervals of all places hold together.  whole: numbers of all prompts of a fold
    together, the mean over the folds.
    """
    assert rung.attack is not None
    parts = {role: _kept(rung, out, role) for role in names}
    scores = {role: _by_prompt(found, lambda one: one["scores"]) for role, found in parts.items()}
    places = list(dict.fromkeys(place for one in parts["model"] for place in one.get("profile", {})))
    every = {name for found in parts.values() for one in found for name in one.get("whole", {})}
    found: dict[str, Any] = {"chance": rung.attack.facts.chance, **_paired(scores, asked, level)}
    found["per_prompt"] = scores["model"]
    found["profile"] = {}
    for place in places:
        held = {role: _by_prompt(part, lambda one, at=place: one["profile"].get(at)) for role, part in parts.items()}
        found["profile"][place] = _paired(held, asked, 1 - (1 - level) / len(places))
    found["whole"] = {
        name: {role: _over_folds([one.get("whole", {}).get(name) for one in part]) for role, part in parts.items()}
        for name in sorted(every, key=_numbered)
    }
    return found


def _numbered(name: str) -> list[tuple[int, str]]:
    """Layer 10 after layer 9."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def _over_folds(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else math.nan


def _paired(scores: Mapping[Role, Mapping[str, float]], asked: Sequence[str], level: float) -> dict[str, Any]:
    """Means with intervals over the prompts that have a number, and the excess paired by prompt.

    scores: of each model, prompt id -> number.
    """
    mine = scores["model"]
    ids = [i for i in asked if not math.isnan(mine[i])]
    found: dict[str, Any] = {"m": len(ids), "undefined": [i for i in asked if i not in ids]}
    if ids:
        found["model"] = _mean([mine[i] for i in ids], level)
    if "retrained" in scores:
        theirs = scores["retrained"]
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


def _kept(rung: Rung, out: Path, role: Role) -> list[dict[str, Any]]:
    """What was read, a part at a time."""
    return [read_kept(out / rung.place(number) / f"{role}.json") for number in range(len(rung.parts))]


def _by_prompt(parts: Sequence[Mapping[str, Any]], pick: Any) -> dict[str, float]:
    """Prompt id -> number over all parts; NaN where a part has none."""
    found: dict[str, float] = {}
    for held in parts:
        values = pick(held) or [None] * len(held["ids"])
        found.update((i, math.nan if one is None else float(one)) for i, one in zip(held["ids"], values, strict=True))
    return found
