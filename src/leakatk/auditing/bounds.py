"""Bounds and forecasts of an audit beyond its samples: exact verbatim leak, exact expansion, any k."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from leakatk.arrays import Floats
from leakatk.estimate.forecast import forecast
from leakatk.estimate.from_probability import ProbabilityBounds, leak_bounds, mean_leak, probability_bounds
from leakatk.files.tables import read_about, with_about, write_table
from leakatk.prompts import Prompt
from leakatk.runs.results import BoundsResult, ExactResult, ForecastResult
from leakatk.runs.store import Run
from leakatk.sampling.base import Answer, Expansion, Sampler, Truth
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.base import get_scorer

EXACT_KS = (1, 128, 10_000, 1_000_000)
FORECAST_KS = (1_000, 10_000, 100_000, 1_000_000)
BOUNDS_KS = (1, 8, 64, 128, 1_000, 10_000, 100_000, 1_000_000)


def exact_result(truths: Sequence[Truth], prompts: Sequence[Prompt]) -> ExactResult:
    """Exact verbatim leak@k: the teacher-forced probability p of the true answer gives mean(1 - (1-p)^k) for any k."""
    logp = [value for _, value in truths]
    return ExactResult(
        k=list(EXACT_KS),
        value=mean_leak(logp, EXACT_KS).tolist(),
        logp={p.id: value if np.isfinite(value) else None for p, value in zip(prompts, logp, strict=True)},
    )


def expansions(
    sampler: Sampler, prompts: Sequence[Prompt], decoding: Decoding, budget: int, *, out: Path, quiet: bool = True
) -> dict[str, Expansion]:
    """Prompt id -> its expanded answer tree; kept in `out` as they are finished, so that each is computed once."""
    from leakatk.sampling.answer_tree import expansions_of

    kept = out / f"expansion-{budget}.parquet"
    found = read_trees(kept) if kept.exists() else {}

    def keep(trees: Sequence[Expansion]) -> None:
        found.update({tree.prompt_id: tree for tree in trees})
        _write_trees(list(found.values()), kept)

    todo = [prompt for prompt in prompts if prompt.id not in found]
    if todo:
        expansions_of(sampler, todo, decoding, budget, keep=keep, quiet=quiet)
    return found


def read_trees(path: Path) -> dict[str, Expansion]:
    table, about = read_about(path)
    answers: dict[str, list[Answer]] = {prompt_id: [] for prompt_id in about["prompts"]}
    for row in table.to_pylist():
        answers[row["prompt_id"]].append(Answer(tuple(row["token_ids"]), row["text"], row["logprob"]))
    return {i: Expansion(i, tuple(answers[i]), mass, prefixes) for i, (mass, prefixes) in about["prompts"].items()}


def _write_trees(trees: Sequence[Expansion], path: Path) -> None:
    rows = [(tree.prompt_id, list(a.token_ids), a.text, a.logprob) for tree in trees for a in tree.answers]
    columns = [
        pa.array([row[c] for row in rows], kind)
        for c, kind in enumerate((pa.string(), pa.list_(pa.int32()), pa.string(), pa.float64()))
    ]
    table = pa.table(columns, names=["prompt_id", "token_ids", "text", "logprob"])
    write_table(with_about(table, {"prompts": {tree.prompt_id: (tree.mass, tree.prefixes) for tree in trees}}), path)


class _Met(NamedTuple):
    """An answer that was computed, not sampled."""

    prompt_id: str
    token_ids: tuple[int, ...]
    logprob: float
    text: str


def exact_bounds(
    run: Run,
    scores: Floats,
    ids: Sequence[str],
    scorer: str,
    truths: Mapping[str, Truth],
    trees: Mapping[str, Expansion],
) -> list[ProbabilityBounds]:
    """Certain bounds of each prompt's leak probability, in the order of `ids`.

    Each distinct answer counts once, with its probability under the decoding: those sampled (row and column of scores),
    those expanded, and the true one. A scorer that asks a judge is not asked anew: only its sampled answers count.
    """
    row = {prompt_id: i for i, prompt_id in enumerate(ids)}
    # Of each prompt: token ids of an answer -> its log-probability, and whether it leaks (0, 1, NaN).
    answers: list[dict[tuple[int, ...], tuple[float, float]]] = [{} for _ in ids]
    for generation in run.generations():
        i = row.get(generation.prompt_id)
        if i is not None and generation.sample < scores.shape[1]:
            leak = float(scores[i, generation.sample])
            answers[i][generation.token_ids] = (generation.logprob, leak)
    judge = get_scorer(scorer)
    if not judge.retries_missing:
        prompts = {prompt.id: prompt for prompt in run.prompts}
        others = [_Met(i, a.token_ids, a.logprob, a.text) for i in ids if i in trees for a in trees[i].answers]
        # A true answer's probability is that with any end token: where it was met with one of them, it would count twice.
        met_with_an_end = {(met.prompt_id, met.token_ids[:-1]) for met in others}
        met_with_an_end |= {(i, said[:-1]) for i, found in zip(ids, answers, strict=True) for said in found}
        others += [
            _Met(i, *truths[i], prompts[i].answer)
            for i in ids
            if i in truths and (i, truths[i][0][:-1]) not in met_with_an_end
        ]
        new = [met for met in others if np.isfinite(met.logprob) and met.token_ids not in answers[row[met.prompt_id]]]
        leaks = judge.score([prompts[met.prompt_id] for met in new], [met.text for met in new])
        for met, leak in zip(new, leaks, strict=True):
            answers[row[met.prompt_id]].setdefault(met.token_ids, (met.logprob, float(leak)))
    return [
        probability_bounds(list(found), [lp for lp, _ in found.values()], [leak for _, leak in found.values()])
        for found in answers
    ]


def bounds_result(bounds: Sequence[ProbabilityBounds]) -> BoundsResult:
    """leak@k at any k, between certain bounds; unknown: mean mass of answers that were not met."""
    low, high = leak_bounds(bounds, BOUNDS_KS)
    unknown = float(np.mean([b.high - b.low for b in bounds]))
    return BoundsResult(k=list(BOUNDS_KS), low=low.tolist(), high=high.tolist(), unknown=unknown)


def forecast_result(scores: Floats, bounds: Sequence[ProbabilityBounds], *, level: float) -> ForecastResult:
    """leak@k beyond the samples drawn: guaranteed bounds, which instrument gave each side, and the model-based line."""
    n = scores.shape[1]
    found = forecast(scores, sorted({2 * n, 5 * n, *FORECAST_KS}), level=level, exact=bounds)
    return ForecastResult(
        k=[int(k) for k in found.k],
        low=found.low.tolist(),
        high=found.high.tolist(),
        low_by=list(found.low_by),
        high_by=list(found.high_by),
        line=found.line.tolist(),
    )
