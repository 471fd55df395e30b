"""Aggregates of an OpenUnlearning evaluation log, recomputed from its per-item values.

The log is TOFU_EVAL.json or MUSE_EVAL.json.

The log maps a metric to {agg_value, value_by_index}, an attack to {agg_value, forget, holdout}. What is recomputed here uses
`leakatk.metrics.utility`, `leakatk.metrics.privacy` and our ROUGE, so a log written elsewhere checks them, and a log can be judged without
its model. The aggregated log of the TOFU repository itself (eval_log_aggregated.json) is read as one of the same, and
follows that code (`leakatk.bench.tofulog`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from leakatk.bench.logitems import (
    LackingError,
    Log,
    each_answer,
    has,
    items_of,
    named,
    number_of,
    numbers_of,
    paired,
    probabilities_of,
    stored_aggregate,
    texts_of,
)
from leakatk.bench.tofulog import TofuLog, from_tofu, is_tofu
from leakatk.errors import InputError
from leakatk.files.reading import parse_json, read_text
from leakatk.metrics import privacy, utility
from leakatk.metrics.utility import Floats
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

T = TypeVar("T")
SPLITS = {"retain": "retain", "ra": "real_authors", "wf": "world_facts"}
# What PrivLeak looks at: the attack, by the names it has had.
MIN_K = ("mia_min_k", "mia_auc")
# In the first version of the MUSE evaluation its scores were two metrics.
MIN_K_PARTS = {"forget": "forget_minKpc_neg_logprob", "holdout": "holdout_minKpc_neg_logprob"}
ROUGE = {  # the log's name of a variant -> ours; all with the stemmer, MUSE's too
    "rougeL_recall": "rouge-l",
    "rougeL_f1": "rouge-l:part=f1",
    "rouge1_recall": "rouge-1",
}
DERIVED = {  # what is made from other metrics, and from which
    "model_utility": "probability, ROUGE and truth ratio of retain, ra and wf",
    "forget_quality": "the truth ratios of both this and the retained model's log",
    "privleak": "a Min-K% attack",
}
GEOMETRIC = "geometric mean of the wrong answers, as in TOFU's code"
_TRUTH_RATIO = re.compile(r"(.+)_truth_ratio", re.IGNORECASE)
_KNOWN = re.compile(r"^mia_|_Q_A_|mem_ROUGE$|_truth_ratio$|^(exact_memorization|extraction_strength)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One aggregate: what we get, what the log says (NaN where it says nothing), and from how many items.

    Items without a value (null in the log) are left out, as that code does; NaN and infinities stay. note: what else a
    reader must know, such as a convention that is not the usual one.
    """

    name: str
    value: float
    stored: float
    items: int
    note: str = ""


def read_log(path: str | Path) -> Log:
    """The log, its shape checked. InputError names what is wrong, and which file to give instead.

    A SUMMARY is read too: of its aggregates PrivLeak alone can be made again.
    """
    log = parse_json(read_text(path), path)
    if isinstance(log, dict):
        if is_tofu(log):
            return from_tofu(log, path)
        if any(isinstance(metric, dict) and {"agg_value", "value_by_index"} & set(metric) for metric in log.values()):
            return log
        numbers = [number_of(value) is not None for value in log.values()]
        if log and all(numbers) and any(name in DERIVED or _KNOWN.search(name) for name in log):  # a SUMMARY
            return {name: {"agg_value": value} for name, value in log.items()}
        if "avg_gt_loss" in log:
            raise InputError(
                f"{path} is one part of a TOFU evaluation; give the eval_log_aggregated.json beside it, which holds all parts."
            )
    found = ", ".join(list(log)[:4]) if isinstance(log, dict) else type(log).__name__
    raise InputError(
        f"{path} is no OpenUnlearning evaluation log: no metric with agg_value (found {found or 'nothing'}). "
        "Give a TOFU_EVAL.json or MUSE_EVAL.json."
    )


def recompute(log: Log, retained: Log | None = None) -> list[Recomputed]:
    """Every aggregate that the log's per-item values allow: TOFU's and MUSE's first, then whatever else has items.

    retained: the log of the retain-only model; forget quality needs it, PrivLeak is taken against .5 without it or where it
    holds no Min-K% attack. What the log says but its items do not allow is NaN, with a note. A metric whose name does not say which ROUGE or which mean of truth ratios it is, is taken in
    the published variant that agrees with the log, and `note` says so.  InputError names the metric, and the item, whose
    value makes no sense.
    """
    found: dict[str, Recomputed] = {}

    def take(name: str, compute: Callable[[], tuple[float, int, str]]) -> None:
        try:
            value, items, note = compute()
        except LackingError:
            return
        found[name] = Recomputed(name, value, stored_aggregate(log, name), items, note)

    def value(name: str) -> float:
        if name not in found:
            raise LackingError(name)
        return found[name].value

    def utility_of_nine() -> tuple[float, int, str]:
        nine = {}
        for theirs, ours in SPLITS.items():
            probability = "Q_A_Prob" if theirs == "retain" else "Q_A_Prob_normalised"
            nine[f"{ours}_prob"] = value(f"{theirs}_{probability}")
            nine[f"{ours}_rouge"] = value(f"{theirs}_Q_A_ROUGE")
            nine[f"{ours}_truth"] = value(named(log, f"{theirs}_Truth_Ratio"))
        note = ""
        if isinstance(log, TofuLog):
            other = {f"{ours}_truth": utility.truth_on_utility(ratios(log, theirs)) for theirs, ours in SPLITS.items()}
            note = _arithmetic(utility.model_utility({**nine, **other}))
        return utility.model_utility(nine), len(nine), note

    def quality() -> tuple[float, int, str]:
        mine = ratios(log, "forget")
        theirs = _of_retained(retained, lambda other: ratios(other, "forget"))
        return utility.forget_quality(mine, theirs), len(mine), GEOMETRIC if isinstance(log, TofuLog) else ""

    def leak() -> tuple[float, int, str]:
        auc, items = _min_k(log)
        try:
            base, note = _min_k(retained or {})[0], ""
        except LackingError:
            base, note = 0.5, "against an AUC of .5" + (": the retained log has no Min-K% attack" if retained else "")
        return privacy.privleak(auc, base), items, note

    for split in ("forget", *SPLITS):
        take(f"{split}_Q_A_Prob", lambda s=split: _averaged(probabilities(log, f"{s}_Q_A_Prob")))  # type: ignore[misc]
        take(f"{split}_Q_A_ROUGE", lambda s=split: _rouge(log, f"{s}_Q_A_ROUGE"))  # type: ignore[misc]
    for split in ("ra", "wf"):
        take(f"{split}_Q_A_Prob_normalised", lambda s=split: _averaged(choices(log, s)))  # type: ignore[misc]
    for name in (named(log, name) for name in ("forget_truth_ratio", *(f"{split}_Truth_Ratio" for split in SPLITS))):
        take(name, lambda n=name: _truth(log, n))  # type: ignore[misc]
    take("model_utility", utility_of_nine)
    if retained is not None:
        take("forget_quality", quality)
    for name in log:
        if name not in found and name not in DERIVED:
            try:
                take(name, lambda n=name: _any(log, n))  # type: ignore[misc]
            except InputError as error:
                if _KNOWN.search(name):
                    raise
                found[name] = Recomputed(name, math.nan, stored_aggregate(log, name), 0, str(error))
    take("privleak", leak)
    if not found:
        raise InputError(
            "Nothing of this log can be recomputed: no metric has the values of its items (value_by_index). A SUMMARY holds "
            "aggregates alone; give the EVAL.json beside it."
        )
    for name, parts in DERIVED.items():
        if name not in found and math.isfinite(stored := stored_aggregate(log, name)):
            found[name] = Recomputed(name, math.nan, stored, 0, f"needs {parts}")
    return list(found.values())


def column(log: Log, metric: str, key: str) -> Floats:
    """One number an item, in the order of the items; the mean where an item has several answers."""
    return np.array([np.mean(one) for one in items_of(log, metric, key, numbers_of).values()], dtype=np.float64)


def probabilities(log: Log, metric: str) -> Floats:
    """(m,) length-normalised probability of each item; the mean where an item has several answers."""
    return np.array([np.mean(one) for one in probabilities_of(log, metric).values()], dtype=np.float64)


def ratios(log: Log, split: str, convention: utility.RatioConvention | None = None) -> Floats:
    """Truth ratios of "forget", "retain", "ra", "wf" ...: from the stored losses of the right (paraphrased, where there is
    that) and of the wrong answers, else as the log has them.

    convention: that of `utility.truth_ratio`; by default the geometric mean, as the code that wrote the log computes it.
    """
    convention = convention or ("tofu" if isinstance(log, TofuLog) else "open-unlearning")
    para = f"{split}_Q_A_PARA_Prob"
    try:
        right, wrong = paired(
            items_of(log, para if para in log else f"{split}_Q_A_Prob", "avg_loss", numbers_of),
            items_of(log, f"{split}_Q_A_PERT_Prob", "avg_loss", numbers_of),
        )
    except LackingError:
        return column(log, named(log, f"{split}_truth_ratio"), "score")
    return utility.truth_ratio(np.array([-np.mean(row) for row in right]), [-row for row in wrong], convention)


def rouge(log: Log, metric: str, variant: str = "rougeL_recall") -> Floats:
    """One of the variants of `ROUGE` of the stored texts; as the log has it where the texts were not kept."""
    try:
        truths, texts = paired(
            items_of(log, metric, "ground_truth", texts_of), items_of(log, metric, "generation", texts_of)
        )
    except LackingError:
        return column(log, metric, variant)
    pairs = [
        (i, truth, text) for i, both in enumerate(zip(truths, texts, strict=True)) for truth, text in each_answer(*both)
    ]
    prompts = [Prompt(str(place), "?", truth) for place, (_, truth, _) in enumerate(pairs)]
    scores = get_scorer(ROUGE[variant]).score(prompts, [text for _, _, text in pairs])
    owner = np.array([i for i, _, _ in pairs])
    return np.bincount(owner, weights=scores) / np.bincount(owner)


def attack_auc(log: Log, metric: str) -> tuple[float, int]:
    """AUC of a membership attack, forget against holdout, and the number of texts."""
    parts = log.get(metric)
    if not isinstance(parts, Mapping):
        raise LackingError(metric)
    forget, holdout = (column({metric: parts.get(part)}, metric, "score") for part in ("forget", "holdout"))
    return _auc(forget, holdout)


def choices(log: Log, split: str) -> Floats:
    """p(right) among right and wrong answers of "ra" or "wf"; as the log has it where the answers' own were not kept."""
    try:
        right, wrong = paired(
            probabilities_of(log, f"{split}_Q_A_Prob"), probabilities_of(log, f"{split}_Q_A_PERT_Prob")
        )
    except LackingError:
        return column(log, f"{split}_Q_A_Prob_normalised", "prob")
    guard = 0.0 if isinstance(log, TofuLog) else utility.GUARD
    return utility.choice_probability([np.mean(row) for row in right], wrong, guard=guard)


def _any(log: Log, metric: str) -> tuple[float, int, str]:
    """A metric by what its items hold: an attack, texts, truth ratios, else scores or probabilities to average."""
    held = log[metric]
    if isinstance(held, Mapping) and {"forget", "holdout"} <= set(held):
        return *attack_auc(log, metric), ""
    if _TRUTH_RATIO.fullmatch(metric):
        return _truth(log, metric)
    if has(log, metric, "score"):
        return _averaged(column(log, metric, "score"))
    if has(log, metric, "prob") or has(log, metric, "avg_loss"):
        return _averaged(probabilities(log, metric))
    return _rouge(log, metric)


def _truth(log: Log, metric: str) -> tuple[float, int, str]:
    matched = _TRUTH_RATIO.fullmatch(metric)
    split = matched.group(1) if matched else metric
    values = ratios(log, split)
    closer, lower = ("min(r, 1/r)", utility.truth_on_forget), ("max(0, 1 - r)", utility.truth_on_utility)
    usual, other = (closer, lower) if split.startswith("forget") else (lower, closer)
    if isinstance(log, TofuLog):
        return usual[1](ratios(log, split, "paper")), len(values), _arithmetic(usual[1](values))
    variants = {
        "": lambda: usual[1](values),
        f"mean of {other[0]}": lambda: other[1](values),
        "mean of r": lambda: float(values.mean()),
    }
    value, note = _agreeing(variants, stored_aggregate(log, metric))
    return value, len(values), note


def _arithmetic(geometric: float) -> str:
    """What must stand beside a number that TOFU's two files compute in two ways."""
    return (
        "arithmetic mean of the wrong answers, as in TOFU's utils.py; "
        f"geometric, as in its aggregate_eval_stat.py: {geometric:.4g}"
    )


def _rouge(log: Log, metric: str) -> tuple[float, int, str]:
    usual = "rougeL_f1" if "mem_" in metric else "rougeL_recall"  # knowmem and verbmem are MUSE's
    names = [n for n in dict.fromkeys((usual, *ROUGE)) if has(log, metric, "generation") or has(log, metric, n)]
    if not names:
        items_of(log, metric, usual, numbers_of)  # says what is wrong with its items, if anything is
        raise LackingError(metric)
    scores = rouge(log, metric, names[0])
    variants = {"" if names[0] == usual else names[0]: lambda: float(np.mean(scores))}
    for name in names[1:]:
        variants[name] = lambda n=name: float(np.mean(rouge(log, metric, n)))  # type: ignore[misc]
    value, note = _agreeing(variants, stored_aggregate(log, metric))
    return value, len(scores), note


def _agreeing(variants: Mapping[str, Callable[[], float]], stored: float) -> tuple[float, str]:
    """(value, note) of the first variant that agrees with the log's own aggregate; of the first where none does."""
    values = {}
    for note, compute in variants.items():
        values[note] = compute()
        if math.isnan(stored) or math.isclose(values[note], stored, rel_tol=1e-7):
            return values[note], note
    note, value = next(iter(values.items()))
    return value, note


def _averaged(values: Floats) -> tuple[float, int, str]:
    return float(np.mean(values)), len(values), ""


def _min_k(log: Log) -> tuple[float, int]:
    """AUC of the Min-K% attack under any of its names, as the log says where it kept no scores."""
    for name in MIN_K:
        if name in log:
            try:
                return attack_auc(log, name)
            except LackingError:
                if math.isfinite(stored := stored_aggregate(log, name)):
                    return stored, 0
    forget, holdout = (column(log, MIN_K_PARTS[part], "score") for part in ("forget", "holdout"))
    return _auc(forget, holdout)


def _auc(forget: Floats, holdout: Floats) -> tuple[float, int]:
    known = not np.isnan(np.concatenate([forget, holdout])).any()
    return privacy.auc(forget, holdout) if known else math.nan, len(forget) + len(holdout)


def _of_retained(retained: Log | None, take: Callable[[Log], T]) -> T:
    """Something of the retained model's log, which must be there where it is asked for."""
    try:
        return take(retained or {})
    except LackingError as lacking:
        raise InputError(f"The log of the retained model lacks {lacking}; give its whole TOFU_EVAL.json.") from None
