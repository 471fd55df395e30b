"""leak@k(x) = E[max of k scores of k independent generations], estimated from n >= k of them.

The estimator is the U-statistic of `ustatistic`, averaged over prompts; the intervals are those of `intervals`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from leakatk.arrays import Floats
from leakatk.errors import InputError
from leakatk.estimate.checks import check_ks, check_level
from leakatk.estimate.curves import ExcessCurve as ExcessCurve
from leakatk.estimate.curves import LeakCurve as LeakCurve
from leakatk.estimate.curves import Over
from leakatk.estimate.intervals import difference_interval, interval
from leakatk.estimate.ustatistic import Scores, per_prompt_leak, score_rows


def leak_at_k(
    scores: Scores,
    ks: int | Sequence[int],
    *,
    over: Over = "samples",
    level: float = 0.95,
    missing: Literal["refuse", "allow"] = "refuse",
    clusters: Sequence[Any] | None = None,
) -> LeakCurve:
    """Mean leak@k over the prompts, for every k in `ks`, with an interval.

    scores: (m, n) array, or m arrays of their own lengths; higher means more leak; usually in [0, 1] (intervals assume
    that no score lies outside the wider of [0, 1] and what was seen).
    over: what the interval is over. "samples": the prompts are fixed, what would another n samples give. "prompts": the
    prompts are a sample of what was to be forgotten; the spread between them already contains the sample noise.
    "both": the same total, never narrower than the sample noise alone.
    missing: NaN scores are refused, or with "allow" dropped prompt by prompt and counted.
    clusters: m labels (author, document) of prompts that belong together; for "prompts" and "both".

    Raises InputError: no scores, k < 1, k > n for any prompt, NaN not allowed, infinite scores.

    >>> curve = leak_at_k([[0, 1, 0, 0], [0, 0, 0, 0]], [1, 2, 4])
    >>> curve.value
    array([0.125, 0.25 , 0.5  ])
    >>> leak_at_k([[0, 1]], 3)
    Traceback (most recent call last):
    leakatk.errors.InputError: ...
    """
    rows, dropped = score_rows(scores, missing=missing)
    k = check_ks(ks)
    _check_options(over, level)
    per_prompt = per_prompt_leak(rows, k)
    low, high = interval(rows, k, per_prompt, over=over, level=level, clusters=clusters)
    return LeakCurve(
        k=k,
        value=per_prompt.mean(axis=0),
        low=low,
        high=high,
        per_prompt=per_prompt,
        over=over,
        level=level,
        m=len(rows),
        n=_sizes(rows),
        missing=dropped,
    )


def excess(
    model_scores: Scores,
    reference_scores: Scores,
    ks: int | Sequence[int],
    *,
    over: Over = "samples",
    level: float = 0.95,
    missing: Literal["refuse", "allow"] = "refuse",
    clusters: Sequence[Any] | None = None,
) -> ExcessCurve:
    """leak@k(model) - leak@k(reference) with its interval; row i of both is the same prompt. Options as `leak_at_k`.

    >>> excess([[1, 1], [0, 1]], [[0, 0], [0, 1]], 2).value
    array([0.5])
    """
    options: dict[str, Any] = {"over": over, "level": level, "missing": missing, "clusters": clusters}
    model = leak_at_k(model_scores, ks, **options)
    reference = leak_at_k(reference_scores, ks, **options)
    if model.m != reference.m:
        raise InputError(
            f"The model has {model.m} prompts and the reference {reference.m}; give the same prompts in the same order."
        )
    low, high = difference_interval(model, reference, clusters=clusters)
    per_prompt = model.per_prompt - reference.per_prompt
    return ExcessCurve(
        k=model.k,
        value=per_prompt.mean(axis=0),
        low=low,
        high=high,
        per_prompt=per_prompt,
        over=over,
        level=level,
        m=model.m,
        model=model,
        reference=reference,
    )


def _check_options(over: str, level: float) -> None:
    if over not in get_args(Over):
        raise InputError(f'over must be "samples", "prompts" or "both", got {over!r}.')
    check_level(level)


def _sizes(rows: list[Floats]) -> int | tuple[int, ...]:
    sizes = tuple(row.size for row in rows)
    return sizes[0] if len(set(sizes)) == 1 else sizes
