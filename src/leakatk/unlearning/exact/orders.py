"""Orders of slices: in which orders a shard's slices are trained on, so that deletions leave long beginnings (S3T)."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from leakatk.errors import InputError

Order = tuple[int, ...]


def cyclic(slices: Sequence[int], count: int) -> list[Order]:
    """So many orders of the slices, for deletions of equal chances: rotations; beyond these, rotations of what follows the first slice.

    Every slice comes first in as many orders as any other, or in one more. InputError for less than one order, or more than there are.

    >>> cyclic([0, 1, 2], 3)
    [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    """
    size = len(slices)
    if not 1 <= count <= math.factorial(size):
        raise InputError(f"{size} slices have 1 to {math.factorial(size)} orders, got {count}.")
    rotations = [(*slices[i:], *slices[:i]) for i in range(size)]
    if count <= size:
        return rotations[:count]
    found = []
    for number, rotation in enumerate(rotations):
        share = count // size + (number < count % size)
        found += [(rotation[0], *rest) for rest in cyclic(rotation[1:], share)]
    return found


def kept_slices(order: Sequence[int], rates: Sequence[float], deletions: int) -> float:
    """sum_n n (1 - sum_{i <= n} p_i)^t: how long a beginning of an order survives `deletions` deletions (the authors' score).

    rates: of each slice the chance that a deletion falls into it; they sum to at most 1.
    """
    left = 1 - np.cumsum([rates[one] for one in order])
    return float(sum(n * max(rest, 0.0) ** deletions for n, rest in enumerate(left, 1)))


def matched(rates: Sequence[float], deletions: int = 100) -> list[Order]:
    """As many orders as slices, for deletions of unequal chances: each begins with another slice and is made longer by one at a time.

    Which order gets which slice is the assignment, every slice once, with the largest sum of `kept_slices`. InputError for rates that are
    negative, or sum to more than 1.
    """
    if not len(rates) or min(rates) < 0 or sum(rates) > 1 + 1e-9:
        raise InputError("Rates of deletion are at least 0 and sum to at most 1.")
    size = len(rates)
    orders: list[Order] = [(one,) for one in range(size)]
    for _ in range(size - 1):
        gain = np.full((size, size), -math.inf)
        for row, order in enumerate(orders):
            for one in range(size):
                if one not in order:
                    gain[row, one] = kept_slices((*order, one), rates, deletions)
        rows, columns = linear_sum_assignment(gain, maximize=True)
        orders = [(*orders[row], int(one)) for row, one in zip(rows, columns, strict=True)]
    return orders


def beginning(order: Sequence[int], gone: Collection[int]) -> Order:
    """The slices of an order before the first that is gone."""
    found: list[int] = []
    for one in order:
        if one in gone:
            break
        found.append(one)
    return tuple(found)


def longest(orders: Sequence[Order], gone: Collection[int]) -> Order:
    """The longest beginning that is left of any order; of equal ones the first."""
    return max((beginning(order, gone) for order in orders), key=len)
