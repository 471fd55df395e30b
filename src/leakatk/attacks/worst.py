"""Worst case over attacks, corrected for having picked it, in two ways.

    among     the largest of all, within an interval that holds for every attack at once (Bonferroni)
    picked    the worst on one half of the prompts, measured on the other half, and the other way round

The first is the worst there is among those tried; the value of the largest is too high by chance, and its interval says how much.
The second is what the attack gives that one would have picked: no picking is in its value, and its interval is its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from leakatk.arrays import Floats
from leakatk.attacks.base import shuffled
from leakatk.estimate.curves import Over
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.estimate.ustatistic import per_prompt_leak

Rows = Mapping[str, Floats]  # prompt id -> (n,) scores
Curve = dict[str, list[Any]]


def worst(
    blocks: Mapping[str, Mapping[str, Any]],
    rows: Mapping[str, tuple[Rows, Rows | None]],
    ks: Sequence[int],
    *,
    over: Over,
    level: float,
    seed: int,
) -> dict[str, Any]:
    """The worst case of one scorer. {} with fewer than two attacks that have a curve.

    blocks: attack -> its numbers, whose "leak", and "excess" where the retrained model is there, hold together.
    rows: attack -> scores of the model, and of the retrained model under the same attack.  level: of the picked one, by itself.
    """
    part = "excess" if any("excess" in block for block in blocks.values()) else "leak"
    curves = {name: block[part] for name, block in blocks.items() if part in block}
    if len(curves) < 2:
        return {}
    found: dict[str, Any] = {"of": part, "attacks": list(curves), "among": _among(curves)}
    whole = _whole({name: rows[name] for name in curves}, paired=part == "excess")
    found["not_picked"] = [name for name in curves if name not in whole]
    ids = sorted({i for mine, _ in rows.values() for i in mine})
    if len(whole) > 1 and len(ids) > 3:
        found["picked"] = _picked(whole, ids, ks, over=over, level=level, seed=seed)
    return found


def _among(curves: Mapping[str, Mapping[str, Any]]) -> Curve:
    """At each k the attack with the largest value. Where all intervals hold, the largest lies between the largest ends."""
    names = list(curves)
    ks = next(iter(curves.values()))["k"]
    ends = {end: np.array([curves[name][end] for name in names]) for end in ("value", "low", "high")}
    return {
        "k": [int(k) for k in ks],
        "attack": [names[int(i)] for i in ends["value"].argmax(axis=0)],
        **{end: [float(value) for value in values.max(axis=0)] for end, values in ends.items()},
    }


def _whole(rows: Mapping[str, tuple[Rows, Rows | None]], *, paired: bool) -> dict[str, tuple[Rows, Rows | None]]:
    """Attacks that have every score of every prompt: only of these one can be picked."""
    ids = {i for mine, _ in rows.values() for i in mine}

    def full(one: Rows | None) -> bool:
        return one is not None and one.keys() >= ids and all(np.isfinite(one[i]).all() for i in ids)

    return {name: pair for name, pair in rows.items() if full(pair[0]) and (full(pair[1]) or not paired)}


def _picked(
    rows: Mapping[str, tuple[Rows, Rows | None]], ids: Sequence[str], ks: Sequence[int], *, over: Over, level: float, seed: int
) -> Curve:  # fmt: skip
    order = shuffled(ids, f"worst {seed}")
    halves = order[::2], order[1::2]
    found: Curve = {"k": [], "attack": [], "value": [], "low": [], "high": []}
    for k in ks:
        mine, theirs, names = [], [], []
        for measured, chosen_on in (halves, halves[::-1]):
            name = max(rows, key=lambda name: _mean(rows[name], chosen_on, k))
            names.append(name)
            a, b = rows[name]
            mine += [a[i] for i in measured]
            theirs += [b[i] for i in measured] if b is not None else []
        curve = (
            excess(mine, theirs, k, over=over, level=level) if theirs else leak_at_k(mine, k, over=over, level=level)
        )
        found["k"].append(int(k))
        found["attack"].append(names)
        for end in ("value", "low", "high"):
            found[end].append(float(getattr(curve, end)[0]))
    return found


def _mean(pair: tuple[Rows, Rows | None], ids: Sequence[str], k: int) -> float:
    mine, theirs = pair
    value = float(per_prompt_leak([mine[i] for i in ids], k).mean())
    return value if theirs is None else value - float(per_prompt_leak([theirs[i] for i in ids], k).mean())
