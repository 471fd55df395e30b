"""A gate over an audit under attack: one verdict on every rung that is sampled, with intervals that hold together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.attacks.base import Read
from leakatk.attacks.rungs import LadderSettings, Role, Rung
from leakatk.auditing.against import judge_pairs
from leakatk.auditing.verdict import Gate, Setting, Way, judge, settings_of_way, with_worst_case
from leakatk.runs.store import Run
from leakatk.scorers.base import get_scorer

COUNTS = tuple(one.name for one in fields(Setting) if one.type == "int")  # what a setting lacks, in numbers


def verdict(rungs: Sequence[Rung], out: Path, settings: LadderSettings, gate: Gate) -> dict[str, Any]:
    """The verdict on the model's samples and greedy answers under every attack that is sampled, and without one.

    It is judged on the headline scorer. Attacks that read have no samples and do not count, nor do ways of asking that give
    the answer away. With the gate's `worst_case` the samples of all rungs count as one setting.
    """
    looked_at = _sampled(rungs)
    found = [one for rung in looked_at for one in _settings(rung, out, settings, gate)]
    if gate.worst_case:
        found = with_worst_case(found, f"{len(looked_at)} rungs, {settings.decoding.label}")
    return judge(found, gate).as_dict()


def excess_verdict(rungs: Sequence[Rung], out: Path, settings: LadderSettings, gate: Gate) -> dict[str, Any]:
    """The verdict on what the model leaks above the retrained model under the same attack, paired by prompt.

    Otherwise as `verdict`. The retrained model gives no greedy answers, so those are not compared.
    """
    roles: tuple[Role, Role] = ("model", "retrained")
    mine, theirs = (
        {
            one.name: one
            for rung in _sampled(rungs)
            for one in _settings(rung, out, settings, gate, role, roles)
            if one.low
        }
        for role in roles
    )
    return judge_pairs(mine, theirs, gate, compared="the retrained model").as_dict()


def _sampled(rungs: Sequence[Rung]) -> list[Rung]:
    return [rung for rung in rungs if not isinstance(rung.attack, Read) and not rung.gives_answer]


def _settings(
    rung: Rung,
    out: Path,
    settings: LadderSettings,
    gate: Gate,
    role: Role = "model",
    asked: Sequence[Role] = ("model",),
) -> list[Setting]:
    """The settings of one rung, each over all its folds. asked: models of which each must have been asked, or a fold is unknown."""
    parts: dict[str, list[Setting]] = {}
    for number in range(len(rung.parts)):
        if not all(rung.asked(out, number, one) for one in asked):
            unknown = unasked([prompt.id for prompt in rung.parts[number].unseen], settings)
            parts.setdefault(unknown.name, []).append(unknown)
            continue
        place = rung.run(out, number, role)
        run, cold = Run.open(place), place / "greedy"
        owners = {i: rung.owner(i) for i in run.prompt_ids}
        way = Way("", run, Run.open(cold) if (cold / "manifest.json").exists() else None, owners)
        for one in settings_of_way(way, settings.scorers[0], gate, settings.decoding.label):
            parts.setdefault(one.name, []).append(one)
    before = "without an attack" if rung.kind == "none" else rung.name
    return [joined(f"{before}: {name}", those) for name, those in parts.items()]


def unasked(ids: Sequence[str], settings: LadderSettings) -> Setting:
    """Prompts that an attack found nothing to ask for: each sample may be the best or the worst, whatever the gate ignores."""
    judge = get_scorer(settings.scorers[0])
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    return Setting(
        name="not asked",
        low={i: np.full(settings.n, judge.low) for i in ids},
        high={i: np.full(settings.n, judge.high) for i in ids},
        owners={i: i for i in ids},
        exact=False,
        **{**counts, "missing": settings.n * len(ids)},
    )


def joined(name: str, parts: Sequence[Setting]) -> Setting:
    """The folds of one rung as one setting: each has prompts of its own."""
    return Setting(
        name=name,
        low={i: row for part in parts for i, row in part.low.items()},
        high={i: row for part in parts for i, row in part.high.items()},
        owners={i: owner for part in parts for i, owner in part.owners.items()},
        exact=parts[0].exact,
        **{count: sum(getattr(part, count) for part in parts) for count in COUNTS},
    )
