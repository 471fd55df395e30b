"""Sequential audit: sample in rounds, stop as soon as the verdict is certain.

Looking at an interval after every round and stopping when it pleases makes a 95% interval wrong more than 5% of the
time. Here each look spends its own share of the error, so all looks together hold with the level asked for, whenever
one stops (Bonferroni over a number of looks fixed beforehand): conservative by construction. The estimate at the stop
is the U-statistic of all samples; stopping early biases it slightly towards the verdict, the interval covers anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.checks import check_level, float_array, number, whole_number
from leakatk.estimate.curves import LeakCurve, Over
from leakatk.estimate.leak import leak_at_k

Verdict = Literal["above", "below", "precise", "undecided"]
# Asked for samples start .. stop of every prompt, gives their scores (m, stop - start).
Draw = Callable[[int, int], Floats]


@dataclass(frozen=True, slots=True)
class Look:
    """What one look saw: samples a prompt so far, and leak@k with the interval of this look's own level."""

    n: int
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Sequential:
    """verdict: leak@k is "above" or "below" the threshold, or known to the half width asked for ("precise"); else
    "undecided" after the last look.  n: samples a prompt drawn.  low, high: hold at the level asked for, whenever it
    stopped.
    """

    verdict: Verdict
    k: int
    n: int
    value: float
    low: float
    high: float
    level: float
    looks: tuple[Look, ...]


def sequential_audit(
    draw: Draw,
    k: int,
    *,
    sizes: Sequence[int],
    threshold: float | None = None,
    half_width: float | None = None,
    level: float = 0.95,
    over: Over = "samples",
) -> Sequential:
    """Sample up to sizes[-1] answers a prompt, looking after each of `sizes`, and stop at the first certain verdict.

    sizes: total samples a prompt at each look, increasing, the first at least k; doubling is a good choice.
    threshold: is leak@k above or below it?  half_width: how well must leak@k be known? Give one of them or both.
    """
    k = whole_number("k", k)
    check_level(level)
    if not isinstance(sizes, Sequence) or isinstance(sizes, str):
        raise InputError(f"sizes must be a list of whole numbers, got {sizes!r:.60}.")
    plan = [whole_number("Each of sizes", size) for size in sizes]
    if not plan or plan[0] < k or any(b <= a for a, b in pairwise(plan)):
        raise InputError(f"sizes must increase from at least k={k}, got {plan!r:.80}.")
    if threshold is None and half_width is None:
        raise InputError("Give a threshold or a half_width: when should the audit stop?")
    threshold = None if threshold is None else number("threshold", threshold)
    half_width = None if half_width is None else number("half_width", half_width, above=0)
    each = 1 - (1 - level) / len(plan)
    scores: Floats | None = None
    looks: list[Look] = []
    verdict: Verdict = "undecided"
    done = 0
    for size in plan:
        new = float_array(f"draw({done}, {size})", draw(done, size))
        if new.ndim != 2 or new.shape[1] != size - done or (scores is not None and len(new) != len(scores)):
            raise InputError(
                f"draw({done}, {size}) must give {size - done} scores for every prompt, the same prompts each time, got "
                f"shape {new.shape}."
            )
        scores = new if scores is None else np.concatenate([scores, new], axis=1)
        done = size
        curve: LeakCurve = leak_at_k(scores, [k], over=over, level=each)
        looks.append(Look(size, float(curve.value[0]), float(curve.low[0]), float(curve.high[0])))
        verdict = _verdict(looks[-1], threshold, half_width)
        if verdict != "undecided":
            break
    last = looks[-1]
    return Sequential(verdict, k, last.n, last.value, last.low, last.high, level, tuple(looks))


def _verdict(look: Look, threshold: float | None, half_width: float | None) -> Verdict:
    if threshold is not None and look.low > threshold:
        return "above"
    if threshold is not None and look.high < threshold:
        return "below"
    if half_width is not None and (look.high - look.low) / 2 <= half_width:
        return "precise"
    return "undecided"
