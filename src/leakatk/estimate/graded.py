"""Variance of leak@k over samples, for graded scores: from each prompt's own samples, at every k up to n.

A score is the integral of 0/1 scores over thresholds t. Between thresholds s < t the U-statistics of the 0/1 scores have

    Cov(U_s, U_t) = Var(U_t) P(k samples stay below s | k samples stay below t), so
    Var(U) = 2 * integral of Var(U_t) (t - E[best of k samples that stay below t]) dt.

At threshold t, c samples reach it. The best of k below it is the U-statistic of the other n - c. For Var(U_t) there are
sums of squares over what changes when samples are left out: V1 one at a time, V2 and V3 pairs and triples. Efron and
Stein (1981): E[V1] >= Var(U_t) whatever the chance to leak. V1 counts an interaction of r samples r times, V2 and V3
count it C(r, 2) and C(r, 3) times; E[V1 - V2/2 + V3/7] >= Var(U_t) still, and for k near n it is far closer (a test
compares them over all chances and k). Our construction.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
from scipy.special import binom

from leakatk.arrays import Floats, Ints
from leakatk.estimate.ustatistic import leak_of_counts, leak_weights

_LEAST = 10  # samples a prompt from which the tighter sum is a bound at every k


def graded_variance(rows: Sequence[Floats], ks: Ints) -> Floats:
    """Variance of mean leak@k over the samples, prompts fixed: (K,). rows: scores of each prompt, at least 0, no NaN."""
    sizes = np.array([row.size for row in rows])
    bound, excess = np.empty((len(rows), ks.size)), np.empty((len(rows), ks.size))
    for n in np.unique(sizes):
        members = np.flatnonzero(sizes == n)
        # A first row of zeros: what all samples reach.
        ordered = np.pad(np.sort(np.stack([rows[int(i)] for i in members], axis=1), axis=0), ((1, 0), (0, 0)))
        for i, k in enumerate(ks):
            bound[members, i], excess[members, i] = _prompt_variance(ordered, int(k))
    total, over = bound.sum(axis=0), excess.sum(axis=0)
    # Few prompts tell the excess badly: take off only what is certain of it, and never more than half.
    certain = over - 2 * np.sqrt((excess**2).sum(axis=0))
    return np.asarray((total - np.clip(certain, 0, total / 2)) / len(rows) ** 2)


def _prompt_variance(ordered: Floats, k: int) -> tuple[Floats, Floats]:
    """V1 and V2/2 - V3/7 of each prompt: (m,), (m,). ordered: (1 + n, m), 0 and the scores, ascending."""
    n = len(ordered) - 1
    first, second, third = count_variances(n, k)
    # c samples reach t and n - c stay below: from c = most, beyond which Var(U_t) is 0, down to 1.
    most = int(np.flatnonzero(first + second + third > 1e-12 * first.max()).max())
    c = np.arange(most, 0, -1)
    top, bottom = ordered[n - most + 1 :], ordered[n - most : n]
    # The best of k among the n - c lowest, from running sums of the weights of all n; of fewer than k: the best of all.
    sums = np.cumsum(ordered * np.pad(leak_weights(n, k), (1, 0))[:, None], axis=0)[n - most : n]
    chance = 1 - leak_of_counts(n, np.array([k]))[c]
    enough = (n - c[:, None] >= k) & (chance > 1e-12)
    best = np.where(enough, np.minimum(sums / np.where(enough, chance, 1.0), bottom), bottom)
    areas = (top - bottom) * (top + bottom - 2 * best)  # the integral of 2 (t - best) from bottom to top
    return first[c] @ areas, (second[c] / 2 - third[c] / 7) @ areas * (n >= _LEAST)


def count_variances(n: int, k: int) -> tuple[Floats, Floats, Floats]:
    """V1, V2, V3 of leak@k for 0/1 scores with c = 0..n leaks: the sum over all sets of r samples of the square of the
    alternating sum of U without each of their subsets. Each (n + 1,).
    """
    # Three samples less must leave k, or k must be all there are; just below n, V2 and V3 of a smaller k stand in.
    settled = k if k == n else max(1, min(k, n - 3))
    return _count_variance(n, k, 1), _count_variance(n, settled, 2), _count_variance(n, settled, 3)


def _count_variance(n: int, k: int, r: int) -> Floats:
    c = np.arange(n + 1)
    left = [np.zeros(n + 1)] * (r + 1)  # U without j samples, for every c; without all of them 0, the least score
    for j in range(min(n, r + 1)):
        left[j] = np.pad(leak_of_counts(n - j, np.array([min(k, n - j)]))[:, 0], (0, j), mode="edge")
    total = np.zeros(n + 1)
    for a in range(r + 1):  # a of the r samples leak
        change = np.zeros(n + 1)
        for i in range(a + 1):
            for j in range(r - a + 1):
                change += (-1) ** (i + j) * comb(a, i) * comb(r - a, j) * left[i + j][np.maximum(c - i, 0)]
        total += binom(c, a) * binom(n - c, r - a) * change**2
    return total
