"""The items of an OpenUnlearning evaluation log: what is stored of each, checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from leakatk.errors import InputError
from leakatk.metrics.checks import Floats

Log = Mapping[str, Any]
T = TypeVar("T")
U = TypeVar("U")


class LackingError(Exception):
    """The log does not hold what an aggregate needs: it is left out, which is no defect of the log."""


def named(log: Log, name: str) -> str:
    """The name as the log spells it: forget_truth_ratio, forget_Truth_Ratio."""
    return next((held for held in log if held.lower() == name.lower()), name)


def has(log: Log, metric: str, key: str) -> bool:
    held = log.get(metric)
    items = held.get("value_by_index") if isinstance(held, Mapping) else None
    return isinstance(items, Mapping) and any(isinstance(item, Mapping) and key in item for item in items.values())


def items_of(log: Log, metric: str, key: str, read: Callable[[Any], T | None]) -> dict[str, T]:
    """item -> value, by item number; null items are left out. Lacking when the metric or all its values are not there."""
    held = log.get(metric)
    by_index = held.get("value_by_index") if isinstance(held, Mapping) else None
    if not by_index:
        raise LackingError(metric)
    if not isinstance(by_index, Mapping):
        raise InputError(
            f"Metric {metric} of the log: value_by_index must map item numbers to values, found {by_index!r:.60}."
        )
    found = {}
    for i in sorted(by_index, key=_by_number):
        item = by_index[i]
        raw = item.get(key) if isinstance(item, Mapping) else item
        if raw is None:
            continue
        parsed = read(raw) if isinstance(item, Mapping) else None
        if parsed is None:
            raise InputError(f"Metric {metric} of the log, item {i}: {key} makes no sense: {raw!r:.60}.")
        found[str(i)] = parsed
    if not found:
        raise LackingError(metric)
    return found


def _by_number(item: object) -> tuple[bool, int, str]:
    """Sorts items by their number; what is none, or too long for one, comes behind."""
    name = str(item)
    number = name.isdecimal() and len(name) <= 18
    return not number, int(name) if number else 0, name


def probabilities_of(log: Log, metric: str) -> dict[str, Floats]:
    """item -> probability of each of its answers; from the losses where the log has no probabilities."""
    try:
        return items_of(log, metric, "prob", numbers_of)
    except LackingError:
        return {i: np.exp(-losses) for i, losses in items_of(log, metric, "avg_loss", numbers_of).items()}


def paired(left: Mapping[str, T], right: Mapping[str, U]) -> tuple[list[T], list[U]]:
    """The values of the items that both have; by item number, never by place."""
    both = [i for i in left if i in right]
    if not both:
        raise LackingError("no item in common")
    return [left[i] for i in both], [right[i] for i in both]


def each_answer(truths: Sequence[str], texts: Sequence[str]) -> list[tuple[str, str]]:
    """Truth and text of every answer of an item."""
    if len(truths) != len(texts):
        raise InputError(f"An item of the log has {len(truths)} ground truths but {len(texts)} generations.")
    return list(zip(truths, texts, strict=True))


def number_of(raw: Any) -> float | None:
    return float(raw) if isinstance(raw, int | float) and not isinstance(raw, bool) else None


def numbers_of(raw: Any) -> Floats | None:
    """The number, or the numbers of an item with several answers."""
    numbers = [number_of(item) for item in (raw if isinstance(raw, list) else [raw])]
    return np.array(numbers, dtype=np.float64) if numbers and None not in numbers else None


def texts_of(raw: Any) -> list[str] | None:
    """The text, or the texts of an item with several answers."""
    texts = raw if isinstance(raw, list) else [raw]
    return texts if texts and all(isinstance(text, str) for text in texts) else None


def stored_aggregate(log: Log, name: str) -> float:
    metric = log.get(name)
    value = number_of(metric.get("agg_value") if isinstance(metric, Mapping) else metric)
    return math.nan if value is None else value
