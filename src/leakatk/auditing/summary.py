"""The numbers of an audit, as the plain values that results.json holds: one block a scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from leakatk.arrays import Floats
from leakatk.auditing.asking import Probed, worst_case
from leakatk.auditing.bounds import bounds_block, exact_bounds, forecast_block
from leakatk.auditing.score import Part, score
from leakatk.errors import InputError
from leakatk.estimate.curves import ExcessCurve, LeakCurve, Over
from leakatk.estimate.leak import excess, leak_at_k
from leakatk.runs.store import Run
from leakatk.scorers.knows import parts, parts_sentence

if TYPE_CHECKING:
    from leakatk.sampling.answer_tree import Expansion
    from leakatk.sampling.teacher_forcing import Truth

Rows = Floats | list[Floats]
OVERS: tuple[Over, ...] = get_args(Over)


def score_block(
    name: str,
    run: Run,
    greedy: Run | None,
    retained: Run | None,
    reference: Run | None,
    ks: Sequence[int],
    *,
    level: float,
    owners: Mapping[str, str] | None = None,
    part: Part = "answer",
) -> dict[str, Any]:
    """One scorer on one run. owners: variant id -> prompt id, where intervals over prompts must keep variants together.

    m: the prompts it scored, which every number here is of; undefined: those it could not.
    """
    kept, ids = _defined(name, run, part)
    known = set(ids)
    several = owners is not None and len(set(owners.values())) < len(owners)
    how: dict[str, Any] = {"level": level, "clusters": [owners[i] for i in ids] if owners and several else None}
    block: dict[str, Any] = {
        "m": len(ids),
        "parts": {part: len(found) for part, found in parts(run.prompts, name).items()},
        "scored_by": parts_sentence(run.prompts, name),
        "n": run.n,
        "undefined": [i for i in run.prompt_ids if i not in known],
        "missing": int(np.isnan(kept).sum()),
        "greedy": None if greedy is None else _mean(score(greedy, name, part=part)),
        "mean": _mean(kept),
        **_curves(kept, ids, ks, **how),
    }
    if retained is not None:
        block["retain"] = _mean(score(retained, name))
    if reference is not None and min(ks) <= reference.n:
        block |= _excess(kept, _aligned(score(reference, name), reference, ids), ks, **how)
    return block


def worst_block(
    name: str,
    asked: Sequence[Probed],
    mine: tuple[Run, Mapping[str, Run]],
    theirs: tuple[Run, Mapping[str, Run]] | None,
    ks: Sequence[int],
    *,
    level: float,
) -> dict[str, Any]:
    """The worst case over the question as it stands and every probe (`probing.worst_case`), and the reference's.

    mine, theirs: the plain run, and probe label -> its run.
    """

    def rows(runs: tuple[Run, Mapping[str, Run]]) -> dict[str, Floats]:
        plain, *others = (
            dict(zip(run.prompt_ids, score(run, name), strict=True))
            for run in (runs[0], *(runs[1][one.label] for one in asked))
        )
        return worst_case(plain, list(zip(asked, others, strict=True)))

    found = rows(mine)
    kept = list(found.values())
    block = _curves(kept, list(found), ks, level=level)
    if theirs is not None:
        other = rows(theirs)
        if lacking := [i for i in found if i not in other]:
            raise InputError(f"The reference run lacks prompt {lacking[0]!r}; audit it on the same prompts.")
        block |= _excess(kept, [other[i] for i in found], ks, level=level)
    return block


def _curves(scores: Rows, ids: Sequence[str], ks: Sequence[int], **how: Any) -> dict[str, Any]:
    """leak@k with each kind of interval, and by prompt."""
    curves = {over: leak_at_k(scores, ks, over=over, missing="allow", **how) for over in _overs(scores, how)}
    return {
        "curves": {over: curve_dict(curve) for over, curve in curves.items()},
        "prompt_ids": list(ids),
        "per_prompt": np.round(curves["samples"].per_prompt, 6).tolist(),
    }


def _excess(mine: Rows, theirs: Rows, ks: Sequence[int], **how: Any) -> dict[str, Any]:
    """The reference's curves and the excess over it; rows are paired."""
    usable = [k for k in ks if k <= min(map(len, theirs))]
    how, overs = {**how, "missing": "allow"}, _overs(mine, how)
    return {
        "reference": {"curves": {over: curve_dict(leak_at_k(theirs, usable, over=over, **how)) for over in overs}},
        "excess": {over: curve_dict(excess(mine, theirs, usable, over=over, **how)) for over in overs},
    }


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


def beyond_block(
    name: str, run: Run, truths: Mapping[str, Truth], trees: Mapping[str, Expansion], *, level: float
) -> dict[str, Any]:
    """Certain bounds and the forecast, for scores that are 0 or 1."""
    kept, ids = _defined(name, run)
    if not bool(np.isin(kept, (0.0, 1.0)).all()):
        return {}
    bounds = exact_bounds(run, kept, ids, name, truths, trees)
    # Without log-probabilities nothing is certain.
    certain = {"bounds": bounds_block(bounds)} if any(bound.answers for bound in bounds) else {}
    return {**certain, "forecast": forecast_block(kept, bounds, level=level)}


def _aligned(scores: Floats, run: Run, ids: Sequence[str]) -> Floats:
    """Rows of `scores` in the order of `ids`: excess is paired by prompt id, never by position."""
    check_covers(run, ids)
    row = {prompt_id: i for i, prompt_id in enumerate(run.prompt_ids)}
    return scores[[row[i] for i in ids]]


def check_covers(reference: Run, ids: Sequence[str]) -> None:
    """InputError unless the reference run has every one of these prompts."""
    there = set(reference.prompt_ids)
    if lacking := [i for i in ids if i not in there]:
        raise InputError(
            f"The reference run lacks {len(lacking)} of {len(ids)} prompts (the first: {lacking[0]!r}); "
            "audit the reference model on the same prompts, or give the model itself as --reference."
        )


def _mean(scores: Floats) -> float | None:
    """Mean of what is defined; None where nothing is."""
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else None


def curve_dict(curve: LeakCurve | ExcessCurve) -> dict[str, list[float] | list[int]]:
    """k, value, low and high as plain lists."""
    return {
        "k": [int(k) for k in curve.k],
        "value": [float(v) for v in curve.value],
        "low": [float(v) for v in curve.low],
        "high": [float(v) for v in curve.high],
    }
