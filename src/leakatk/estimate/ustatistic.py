"""The U-statistic with kernel max: the mean of the maximum over all k-subsets of n scores.

Unbiased for E[max of k independent scores] (Hoeffding 1948). For 0/1 scores with c leaks it equals
1 - C(n-c, k) / C(n, k), the estimator of "Leak@k" (arXiv 2511.04934) and of pass@k.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError
from leakatk.estimate.checks import check_ks, float_array

Scores = ArrayLike | Sequence[ArrayLike]

_BLOCK = 1 << 23  # weights held in memory at once
_HUGE = 1e100  # so that differences of scores are finite


def per_prompt_leak(scores: Scores, ks: int | Sequence[int] | Ints) -> Floats:
    """The U-statistic of every prompt: (m, len(ks)). No NaN, every k at most the number of samples of every prompt."""
    rows, _ = score_rows(scores)
    k = check_ks(ks)
    sizes = np.array([row.size for row in rows])
    if k.max() > sizes.min():
        raise InputError(
            f"k={k.max()} is more than the {sizes.min()} samples of prompt {int(sizes.argmin())}; "
            "leak@k needs n >= k: sample more, or ask for a smaller k (`forecast` bounds larger ones)."
        )
    result = np.empty((len(rows), k.size))
    for n in np.unique(sizes):
        members = np.flatnonzero(sizes == n)
        ordered = np.sort(np.stack([rows[i] for i in members]), axis=1)
        width = max(1, _BLOCK // int(n))
        for start in range(0, k.size, width):
            part = slice(start, start + width)
            weights = np.stack([leak_weights(int(n), int(kk)) for kk in k[part]], axis=1)
            # The clip undoes rounding: a mean of maxima lies between the smallest and the largest score.
            result[members, part] = np.clip(ordered @ weights, ordered[:, :1], ordered[:, -1:])
    return result


def leak_weights(n: int, k: int) -> Floats:
    """Weights of the ascending scores s_(1..n): C(j-1, k-1) / C(n, k) for j >= k, else 0.

    From the largest down, by w_n = k/n and w_j = w_(j+1) (j-k+1)/j: relative error about 1e-14 even at n = 10^6, where
    differences of log-gammas have lost nine digits.
    """
    weights = np.zeros(n)
    j = np.arange(n - 1, k - 1, -1, dtype=float)
    weights[k - 1 :] = np.cumprod(np.concatenate([[k / n], (j - k + 1) / j]))[::-1]
    return weights


def leak_of_counts(n: int, ks: Ints) -> Floats:
    """leak@k of 0/1 scores for every count c = 0..n of leaks: (n + 1, K)."""
    table = np.zeros((n + 1, ks.size))
    for i, k in enumerate(ks):
        table[1:, i] = np.minimum(np.cumsum(leak_weights(n, int(k))[::-1]), 1.0)
    return table


def score_rows(scores: Scores, *, missing: Literal["refuse", "allow"] = "refuse") -> tuple[list[Floats], int]:
    """The scores as one float array a prompt, missing ones dropped, and how many were dropped."""
    if missing not in ("refuse", "allow"):
        raise InputError(f"missing must be 'refuse' or 'allow', got {missing!r}.")
    if not isinstance(scores, Iterable) or isinstance(scores, str | bytes | Mapping):
        raise InputError(f"The scores must be an (m, n) array, or a list of one array a prompt, got {scores!r:.60}.")
    rows = [float_array(f"The scores of prompt {i}", row) for i, row in enumerate(scores)]
    if not rows:
        raise InputError("There are no scores: 0 prompts; give at least one prompt with at least one sample.")
    for i, row in enumerate(rows):
        if row.ndim != 1:
            raise InputError(f"The scores of prompt {i} have {row.ndim} dimensions; give one list of scores a prompt.")
        if row.size == 0:
            raise InputError(f"Prompt {i} has n = 0 samples; leak@k needs at least k of them.")
        if (np.abs(row) > _HUGE).any():
            raise InputError(f"The scores of prompt {i} hold an infinite or huge value (above {_HUGE:g}).")
    absent = [int(np.isnan(row).sum()) for row in rows]
    dropped = sum(absent)
    if dropped and missing == "refuse":
        first = next(i for i, count in enumerate(absent) if count)
        raise InputError(
            f"{dropped} scores are missing (NaN), first at prompt {first}; score them again, "
            'or pass missing="allow" to leave them out.'
        )
    if dropped:
        rows = [row[~np.isnan(row)] for row in rows]
        for i, row in enumerate(rows):
            if row.size == 0:
                raise InputError(
                    f"All {absent[i]} scores of prompt {i} are missing; score it again or drop the prompt."
                )
    return rows, dropped
