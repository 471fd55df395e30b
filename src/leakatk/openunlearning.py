"""Recompute the aggregates of an OpenUnlearning evaluation log (TOFU_EVAL.json, MUSE_EVAL.json) from its per-item values.

The log maps a metric to {agg_value, value_by_index}. What is recomputed here uses `leakatk.utility`, `leakatk.privacy` and
our ROUGE, so a log written elsewhere checks them, and a log can be judged without its model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from leakatk import privacy, utility
from leakatk.data import Prompt, parse_json, read_text
from leakatk.errors import InputError
from leakatk.scorers.base import get_scorer
from leakatk.utility import Floats

Log = Mapping[str, Any]
T = TypeVar("T")
U = TypeVar("U")
SPLITS = {"retain": "retain", "ra": "real_authors", "wf": "world_facts"}


@dataclass(frozen=True, slots=True)
class Recomputed:
    """One aggregate: what we get, what the log says (NaN where it says nothing), and from how many items.

    Items without a value (null in the log) are left out, as that code does.
    """

    name: str
    value: float
    stored: float
    items: int


class _LackingError(Exception):
    """The log does not hold what an aggregate needs: it is left out, which is no defect of the log."""


def read_log(path: str | Path) -> Log:
    """The log, its shape checked. InputError names what is wrong."""
    log = parse_json(read_text(path), path)
    if not isinstance(log, dict) or not any(isinstance(m, dict) and "agg_value" in m for m in log.values()):
        raise InputError(
            f"{path} is no OpenUnlearning evaluation log: no metric with agg_value. Give a TOFU_EVAL.json or MUSE_EVAL.json."
        )
    return log


def recompute(log: Log, retained: Log | None = None) -> list[Recomputed]:
    """Every aggregate that the log's per-item values allow, in a fixed order; of TOFU and of MUSE.

    retained: the log of the retain-only model; forget quality needs it, PrivLeak is taken against .5 without it.
    InputError names the metric, and the item, whose value makes no sense.
    """
    found: dict[str, Recomputed] = {}

    def take(name: str, compute: Callable[[], Any]) -> None:
        """compute: gives the values of the items to average, or (aggregate, number of items)."""
        try:
            result = compute()
        except _LackingError:
            return
        value, items = result if isinstance(result, tuple) else (float(np.mean(result)), len(result))
        found[name] = Recomputed(name, value, _stored(log, name), items)

    def value(name: str) -> float:
        if name not in found:
            raise _LackingError(name)
        return found[name].value

    def utility_of_nine() -> tuple[float, int]:
        nine = {}
        for theirs, ours in SPLITS.items():
            probability = "Q_A_Prob" if theirs == "retain" else "Q_A_Prob_normalised"
            nine[f"{ours}_prob"] = value(f"{theirs}_{probability}")
            nine[f"{ours}_rouge"] = value(f"{theirs}_Q_A_ROUGE")
            nine[f"{ours}_truth"] = value(f"{theirs}_Truth_Ratio")
        return utility.model_utility(nine), len(nine)

    def quality() -> tuple[float, int]:
        mine = ratios(log, "forget")
        return utility.forget_quality(mine, _of_retained(retained, lambda other: ratios(other, "forget"))), len(mine)

    def leak() -> tuple[float, int]:
        base = 0.5 if retained is None else _of_retained(retained, lambda other: attack_auc(other, "mia_min_k")[0])
        return privacy.privleak(value("mia_min_k"), base), found["mia_min_k"].items

    for split in ("forget", *SPLITS):
        take(f"{split}_Q_A_Prob", lambda s=split: column(log, f"{s}_Q_A_Prob", "prob"))  # type: ignore[misc]
        take(f"{split}_Q_A_ROUGE", lambda s=split: rouge(log, f"{s}_Q_A_ROUGE"))  # type: ignore[misc]
    for split in ("ra", "wf"):
        take(f"{split}_Q_A_Prob_normalised", lambda s=split: choices(log, s))  # type: ignore[misc]
    take("forget_truth_ratio", lambda: _summed(utility.truth_on_forget, ratios(log, "forget")))
    for split in SPLITS:
        take(f"{split}_Truth_Ratio", lambda s=split: _summed(utility.truth_on_utility, ratios(log, s)))  # type: ignore[misc]
    take("model_utility", utility_of_nine)
    if retained is not None:
        take("forget_quality", quality)
    for name in ("exact_memorization", "extraction_strength"):
        take(name, lambda n=name: column(log, n, "score"))  # type: ignore[misc]
    for name in ("forget_knowmem_ROUGE", "retain_knowmem_ROUGE", "forget_verbmem_ROUGE"):
        take(name, lambda n=name: rouge(log, n, "f1"))  # type: ignore[misc]
    for name in sorted(metric for metric in log if metric.startswith("mia_")):
        take(name, lambda n=name: attack_auc(log, n))  # type: ignore[misc]
    take("privleak", leak)
    if not found:
        raise InputError(
            "Nothing of this log can be recomputed: its metrics have no value_by_index with what is needed."
        )
    return list(found.values())


def column(log: Log, metric: str, key: str) -> Floats:
    """One number an item, in the order of the items."""
    return np.array(list(_items(log, metric, key, _number).values()), dtype=np.float64)


def ratios(log: Log, split: str) -> Floats:
    """Truth ratios of "forget", "retain", "ra" or "wf", from the stored losses of the right and of the wrong answers."""
    right_metric = f"{split}_{'Q_A_PARA_Prob' if split in ('forget', 'retain') else 'Q_A_Prob'}"
    right, wrong = _paired(
        _items(log, right_metric, "avg_loss", _number), _items(log, f"{split}_Q_A_PERT_Prob", "avg_loss", _numbers)
    )
    return utility.truth_ratio(-np.array(right), [-row for row in wrong])


def rouge(log: Log, metric: str, part: str = "recall") -> Floats:
    """ROUGE-L recall, or F1, of the stored texts."""
    truths, texts = _paired(_items(log, metric, "ground_truth", _text), _items(log, metric, "generation", _text))
    prompts = [Prompt(str(i), "?", truth) for i, truth in enumerate(truths)]
    return get_scorer(f"rouge-l:part={part}").score(prompts, texts)


def attack_auc(log: Log, metric: str) -> tuple[float, int]:
    """AUC of a membership attack, forget against holdout, and the number of texts."""
    parts = log.get(metric)
    if not isinstance(parts, Mapping):
        raise _LackingError(metric)
    forget, holdout = (column({metric: parts.get(part)}, metric, "score") for part in ("forget", "holdout"))
    return privacy.auc(forget, holdout), len(forget) + len(holdout)


def choices(log: Log, split: str) -> Floats:
    """p(right) among right and wrong answers of "ra" or "wf"."""
    right, wrong = _paired(
        _items(log, f"{split}_Q_A_Prob", "prob", _number), _items(log, f"{split}_Q_A_PERT_Prob", "prob", _numbers)
    )
    return utility.choice_probability(right, wrong)


def _items(log: Log, metric: str, key: str, read: Callable[[Any], T | None]) -> dict[int, T]:
    """item number -> value, by number; null items are left out. Lacking when the metric or all its values are not there."""
    held = log.get(metric)
    by_index = held.get("value_by_index") if isinstance(held, Mapping) else None
    if not by_index:
        raise _LackingError(metric)
    if not isinstance(by_index, Mapping) or not all(str(i).isdigit() for i in by_index):
        raise InputError(
            f"Metric {metric} of the log: value_by_index must map item numbers to values, found {by_index!r:.60}."
        )
    found = {}
    for i in sorted(by_index, key=int):
        item = by_index[i]
        raw = item.get(key) if isinstance(item, Mapping) else item
        if raw is None:
            continue
        parsed = read(raw) if isinstance(item, Mapping) else None
        if parsed is None:
            raise InputError(f"Metric {metric} of the log, item {i}: {key} makes no sense: {raw!r:.60}.")
        found[int(i)] = parsed
    if not found:
        raise _LackingError(metric)
    return found


def _paired(left: Mapping[int, T], right: Mapping[int, U]) -> tuple[list[T], list[U]]:
    """The values of the items that both have; by item number, never by place."""
    both = [i for i in left if i in right]
    if not both:
        raise _LackingError("no item in common")
    return [left[i] for i in both], [right[i] for i in both]


def _number(raw: Any) -> float | None:
    known = isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw)
    return float(raw) if known else None


def _numbers(raw: Any) -> Floats | None:
    numbers = [_number(item) for item in raw] if isinstance(raw, list) else []
    return np.array(numbers, dtype=np.float64) if numbers and None not in numbers else None


def _text(raw: Any) -> str | None:
    return raw if isinstance(raw, str) else None


def _summed(summarise: Callable[[Floats], float], values: Floats) -> tuple[float, int]:
    return summarise(values), len(values)


def _of_retained(retained: Log | None, take: Callable[[Log], T]) -> T:
    """Something of the retained model's log, which must be there where it is asked for."""
    try:
        return take(retained or {})
    except _LackingError as lacking:
        raise InputError(f"The log of the retained model lacks {lacking}; give its whole TOFU_EVAL.json.") from None


def _stored(log: Log, name: str) -> float:
    metric = log.get(name)
    value = _number(metric.get("agg_value") if isinstance(metric, Mapping) else metric)
    return math.nan if value is None else value
