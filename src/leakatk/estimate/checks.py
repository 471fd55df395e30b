"""Checks of arguments, the same everywhere: one sentence that names the argument and the value seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError

NUMBER = (int, float, np.integer, np.floating)
_LARGEST = 2**53  # beyond it floats skip whole numbers


def whole_number(name: str, value: Any, *, least: int = 1) -> int:
    """The value as an int; a float with nothing behind the point will do."""
    if isinstance(value, NUMBER) and not isinstance(value, bool) and least <= value <= _LARGEST and value == int(value):
        return int(value)
    most = f" and at most {_LARGEST:,}" if isinstance(value, NUMBER) and value > _LARGEST else ""
    raise InputError(f"{name} must be a whole number of at least {least}{most}, got {value!r:.60}.")


def number(name: str, value: Any, *, above: float = -math.inf, below: float = math.inf) -> float:
    """The value as a finite float strictly between `above` and `below`."""
    if isinstance(value, NUMBER) and not isinstance(value, bool) and above < value < below:
        return float(value)
    limits = [f"above {above:g}"] * (above > -math.inf) + [f"below {below:g}"] * (below < math.inf)
    raise InputError(f"{name} must be a number {' and '.join(limits)}".rstrip() + f", got {value!r:.60}.")


def check_level(level: Any) -> None:
    if not isinstance(level, NUMBER) or not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, got {level!r:.60}; 0.95 is usual.")


def check_ks(ks: int | Sequence[int] | Ints) -> Ints:
    """The ks as a whole-number array; InputError when empty, below 1 or not whole."""
    try:
        values = np.atleast_1d(np.asarray(ks))
    except ValueError:  # ragged
        values = np.empty(0)
    if values.ndim != 1 or values.size == 0:
        raise InputError(f"ks must be one or more whole numbers, got {ks!r:.60}.")
    if (
        values.dtype.kind not in "iuf"
        or not ((values >= 1) & (values <= _LARGEST) & (values == np.floor(values))).all()
    ):
        raise InputError(f"Every k must be a whole number of at least 1, got {values.tolist()!r:.60}.")
    return values.astype(np.int64)


def float_array(name: str, values: Any) -> Floats:
    """The values as floats, a masked one NaN; InputError for text, dates and complex numbers."""
    try:
        found = np.asarray(
            np.ma.filled(values.astype(float), np.nan) if isinstance(values, np.ma.MaskedArray) else values
        )
        if found.dtype.kind not in "biufO":
            raise TypeError
        return np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be numbers, got {values!r:.60}.") from None
