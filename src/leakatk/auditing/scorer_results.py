"""Results of one scorer on the runs of an audit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np

from leakatk.arrays import Floats
from leakatk.auditing.asking import Probed, worst_case
from leakatk.auditing.bounds import bounds_result, exact_bounds, forecast_result
from leakatk.auditing.score import Part, score
from leakatk.errors import InputError
from leakatk.estimate.curves import Over
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.runs.results import BoundsResult, CurveResult, CurvesOnly, ForecastResult, LeakResult, ScorerResult
from leakatk.runs.store import Run
from leakatk.sampling.base import Expansion, Truth
from leakatk.scorers.knows import parts, parts_sentence

Rows = Floats | list[Floats]
OVERS: tuple[Over, ...] = get_args(Over)


def scorer_result(
    name: str,
    run: Run,
    greedy: Run | None,
    retained: Run | None,
    retrained: Run | None,
    ks: Sequence[int],
    *,
    level: float,
    owners: Mapping[str, str] | None = None,
    part: Part = "answer",
) -> ScorerResult:
    """One scorer on one run.

    greedy, retained: the greedy answers to the same and to the retain prompts.  retrained: the run of the model that never
    saw the data.  owners: variant id -> prompt id, where intervals over prompts must keep variants together.
    """
    kept, ids = _defined(name, run, part)
    known = set(ids)
    several = owners is not None and len(set(owners.values())) < len(owners)
    how: dict[str, Any] = {"level": level, "clusters": [owners[i] for i in ids] if owners and several else None}
    theirs = None
    if retrained is not None and min(ks) <= retrained.n:
        theirs = _aligned(score(retrained, name), retrained, ids)
    return ScorerResult(
        m=len(ids),
        parts={part: len(found) for part, found in parts(run.prompts, name).items()},
        scored_by=parts_sentence(run.prompts, name),
        n=run.n,
        undefined=[i for i in run.prompt_ids if i not in known],
        missing=int(np.isnan(kept).sum()),
        greedy=math.nan if greedy is None else _mean(score(greedy, name, part=part)),
        mean=_mean(kept),
        retain=None if retained is None else _mean(score(retained, name)),
        **_leak(kept, theirs, ids, ks, **how),
    )


def worst_result(
    name: str,
    asked: Sequence[Probed],
    mine: tuple[Run, Mapping[str, Run]],
    theirs: tuple[Run, Mapping[str, Run]] | None,
    ks: Sequence[int],
    *,
    level: float,
) -> LeakResult:
    """The worst case over the question as it stands and every probe (`asking.worst_case`), and the retrained model's.

    mine, theirs: the plain run, and probe label -> its run.
    """

    def rows(runs: tuple[Run, Mapping[str, Run]]) -> dict[str, Floats]:
        plain, *others = (
            dict(zip(run.prompt_ids, score(run, name), strict=True))
            for run in (runs[0], *(runs[1][one.label] for one in asked))
        )
        return worst_case(plain, list(zip(asked, others, strict=True)))

    found = rows(mine)
    paired = None
    if theirs is not None:
        other = rows(theirs)
        if lacking := [i for i in found if i not in other]:
            raise InputError(
                f"The retrained model's run lacks prompt {lacking[0]!r}; audit that model on the same prompts."
            )
        paired = [other[i] for i in found]
    return LeakResult(**_leak(list(found.values()), paired, list(found), ks, level=level))


def _leak(mine: Rows, theirs: Rows | None, ids: Sequence[str], ks: Sequence[int], **how: Any) -> dict[str, Any]:
    """The fields of `LeakResult`: leak@k with each kind of interval and by prompt, and the excess; rows are paired."""
    how, overs = {**how, "missing": "allow"}, _overs(mine, how)
    curves = {over: leak_at_k(mine, ks, over=over, **how) for over in overs}
    found: dict[str, Any] = {
        "curves": {over: CurveResult.of(curve) for over, curve in curves.items()},
        "prompt_ids": list(ids),
        "per_prompt": np.round(curves["samples"].per_prompt, 6).tolist(),
    }
    if theirs is not None:
        usable = [k for k in ks if k <= min(map(len, theirs))]
        found["retrained"] = CurvesOnly(
            curves={over: CurveResult.of(leak_at_k(theirs, usable, over=over, **how)) for over in overs}
        )
        found["excess"] = {over: CurveResult.of(excess(mine, theirs, usable, over=over, **how)) for over in overs}
    return found


def _overs(scores: Rows, how: Mapping[str, Any]) -> tuple[Over, ...]:
    """The kinds of interval there are: one prompt alone has none over prompts."""
    return OVERS if len(set(how.get("clusters") or range(len(scores)))) > 1 else ("samples",)


def _defined(name: str, run: Run, part: Part = "answer") -> tuple[Floats, list[str]]:
    """Scores of the prompts on which the scorer is defined, and their ids."""
    scores = score(run, name, part=part)
    defined = np.isfinite(scores).any(axis=1).reshape(-1)
    ids = [i for i, keep in zip(run.prompt_ids, defined, strict=True) if keep]
    if not ids:
        raise InputError(f"Scorer {name} is undefined on every prompt; choose another with --scorer.")
    return scores[defined], ids


def beyond(
    name: str, run: Run, truths: Mapping[str, Truth], trees: Mapping[str, Expansion], *, level: float
) -> tuple[BoundsResult | None, ForecastResult | None]:
    """Certain bounds and the forecast, for scores that are 0 or 1."""
    kept, ids = _defined(name, run)
    if not bool(np.isin(kept, (0.0, 1.0)).all()):
        return None, None
    bounds = exact_bounds(run, kept, ids, name, truths, trees)
    # Without log-probabilities nothing is certain.
    certain = bounds_result(bounds) if any(bound.answers for bound in bounds) else None
    return certain, forecast_result(kept, bounds, level=level)


def _aligned(scores: Floats, run: Run, ids: Sequence[str]) -> Floats:
    """Rows of `scores` in the order of `ids`: excess is paired by prompt id, never by position."""
    check_covers(run, ids)
    row = {prompt_id: i for i, prompt_id in enumerate(run.prompt_ids)}
    return scores[[row[i] for i in ids]]


def check_covers(retrained: Run, ids: Sequence[str]) -> None:
    """InputError unless the retrained model's run has every one of these prompts."""
    there = set(retrained.prompt_ids)
    if lacking := [i for i in ids if i not in there]:
        raise InputError(
            f"The retrained model's run lacks {len(lacking)} of {len(ids)} prompts (the first: {lacking[0]!r}); "
            "audit that model on the same prompts, or give the model itself as --retrained."
        )


def _mean(scores: Floats) -> float:
    """Mean of what is defined; NaN where nothing is."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else math.nan
