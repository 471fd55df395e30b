"""Numbers that formulas are given, checked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leakatk.arrays import Floats as Floats
from leakatk.errors import InputError


def vector(values: npt.ArrayLike, name: str) -> Floats:
    """The values as a one-dimensional float array; InputError, naming them, when they are none."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise InputError(f"{name} must be a non-empty list of numbers, got shape {array.shape}.")
    return array


def known(values: npt.ArrayLike, name: str) -> Floats:
    """Scores, none of them missing."""
    array = vector(values, name)
    if missing := int(np.isnan(array).sum()):
        raise InputError(
            f"{missing} of {array.size} {name} are missing (NaN); score those texts again or leave them out."
        )
    return array


def number_rows(values: Sequence[npt.ArrayLike], count: int, name: str) -> list[Floats]:
    """A vector for each of so many questions."""
    if len(values) != count:
        raise InputError(f"{name} has {len(values)} rows for {count} questions; give one row for each question.")
    return [vector(row, f"each row of {name}") for row in values]


def mean(values: npt.ArrayLike) -> float:
    """NaN without values."""
    array = np.asarray(values, dtype=np.float64)
    return float(array.mean()) if array.size else float("nan")
