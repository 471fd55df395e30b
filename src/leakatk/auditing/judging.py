"""Judging of what a gate looks at: the ends of leak@k, or of a difference, in every setting, and one answer for all.

What is unknown counts on both sides: a setting holds the least and the most that its samples may score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from leakatk.auditing.advice import settles
from leakatk.auditing.measured import Measured, Sides
from leakatk.auditing.reasons import not_measured, reason, why
from leakatk.auditing.settings import Gate
from leakatk.errors import InputError
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.runs.results import Answer, GateVerdict, SettingVerdict


def judged(
    settings: Sequence[Measured], gate: Gate, *, compared: str = "", left_out: Sequence[str] = (), advise: bool = True
) -> GateVerdict:
    """The verdict on all settings together. InputError when there are none.

    compared: the name of the run that the model is compared with.
    left_out: sentences on what could not be compared.
    advise: whether to compute what would settle a CANNOT SAY.
    """
    if not settings:
        raise InputError("The gate has nothing to look at: no prompt could be scored. Choose another --scorer.")
    # A deterministic answer has no sampling error, so it needs no share of the level.
    chances = max(1, sum(not (one.exact and gate.over == "samples") for one in settings)) * gate.looks * gate.gates
    each = 1 - (1 - gate.level) / chances
    found = [_judged(one, gate, each) for one in settings]
    answers = [one.answer for one in found]
    answer: Answer = "FAIL" if "FAIL" in answers else "PASS" if all(one == "PASS" for one in answers) else "CANNOT SAY"
    worst = max(
        (one for one in found if one.answer == answer), key=lambda one: one.low if answer == "FAIL" else one.high
    )
    open_ = [one for one, said in zip(settings, answers, strict=True) if said == "CANNOT SAY"]
    return GateVerdict(
        answer=answer,
        reason=reason(answer, worst, found, gate, compared),
        why=why(worst, gate, compared, graded=any(one.graded for one in settings), found=found),
        not_measured=[*not_measured(found, gate), *left_out],
        settles=settles(open_, found, gate, each) if advise and answer == "CANNOT SAY" else "",
        against=gate.against or None,
        compared=compared or None,
        k=gate.k,
        bound=gate.bound,
        over=gate.over,
        level=gate.level,
        each_level=each,
        looks=gate.looks,
        low=worst.low,
        high=worst.high,
        worst=worst.name,
        unscored=gate.unscored,
        cut=gate.cut,
        settings=found,
    )


def _judged(one: Measured, gate: Gate, level: float) -> SettingVerdict:
    """Ends of one setting, and where the upper one would be if nothing unknown leaked."""
    low, clean = _ends(one, one.least, gate, level)[0], _ends(one, one.clean, gate, level)[1]
    high = _ends(one, one.most, gate, level)[1] if one.unscored + one.missing + one.cut else clean
    answer: Answer = "PASS" if high <= gate.bound else "FAIL" if low > gate.bound else "CANNOT SAY"
    return SettingVerdict(
        name=one.name,
        answer=answer if one.known else "CANNOT SAY",  # a bound of 100% lets nothing pass that nobody measured
        low=low,
        high=high,
        high_if_clean=clean,
        prompts=one.prompts,
        samples=one.samples,
        unscored=one.unscored,
        missing=one.missing,
        cut=one.cut,
        ignored=one.ignored,
    )


def _ends(one: Measured, sides: Sides, gate: Gate, level: float) -> tuple[float, float]:
    """The interval of leak@k, or of the difference; one deterministic answer has no sampling error."""
    mine, theirs = sides
    if one.exact and gate.over == "samples":
        value = float(np.mean([row[0] for row in mine])) - (
            float(np.mean([row[0] for row in theirs])) if theirs is not None else 0.0
        )
        return value, value
    k = 1 if one.exact else gate.k  # every one of k deterministic answers is the same
    how: dict[str, Any] = {"over": gate.over, "level": level, "clusters": one.clusters}
    curve = leak_at_k(mine, [k], **how) if theirs is None else excess(mine, theirs, [k], **how)
    return float(curve.low[0]), float(curve.high[0])
