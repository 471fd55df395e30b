"""The mixing distribution of per-prompt leak probabilities: nonparametric maximum likelihood by EM on a grid.

Kiefer and Wolfowitz (1956), Laird (1978). Prompt i leaks in c_i ~ Binomial(n_i, p_i) samples, and the p_i are draws from
an unknown distribution. Its estimate, with a trace of a flat prior, says how uncertain each prompt's own p_i is: the posterior.
"""

from __future__ import annotations

import numpy as np
from scipy.special import gammaln, xlog1py, xlogy

from leakatk.arrays import Floats, Ints


def probability_grid(n: int, points: int = 60) -> Floats:
    """0, log-spaced up to 1/2 from 1/(50 n), and the mirror image up to 1: (2 points + 1,)."""
    small = np.geomspace(0.02 / n, 0.5, points)
    return np.concatenate([[0.0], small, 1 - small[-2::-1], [1.0]])


def log_likelihood(counts: Ints, trials: Ints, grid: Floats) -> Floats:
    """log Binomial(c | n, p) without its constant: (len(counts), len(grid))."""
    c, n = counts[:, None].astype(float), trials[:, None].astype(float)
    return np.asarray(xlogy(c, grid[None, :]) + xlog1py(n - c, -grid[None, :]))


def fit_mixing(
    counts: Ints, trials: Ints, grid: Floats, *, steps: int = 300, prior: float = 2.0
) -> tuple[Floats, Floats]:
    """EM from uniform weights: the mixing weights (G,) and each prompt's posterior (m, G).

    prior: this many pseudo-prompts spread evenly over the grid join the m real ones. Without them the fit is too sure of
    itself when m is small: in simulation, intervals that should cover 95% covered 80-92% of the time at m = 20 .. 48 and
    k near n; with two of them, 93-97%. They fade as m grows.
    """
    pairs, inverse, times = np.unique(
        np.stack([counts, trials], axis=1), axis=0, return_inverse=True, return_counts=True
    )
    log = log_likelihood(pairs[:, 0], pairs[:, 1], grid)
    likelihood = np.exp(log - log.max(axis=1, keepdims=True))
    weights = start = np.full(grid.size, 1 / grid.size)
    total = times.sum() + prior
    for _ in range(steps):
        weights = weights * (likelihood.T @ (times / (likelihood @ weights)))
        weights = (weights + prior * start) / total
    posterior = likelihood * weights
    posterior /= posterior.sum(axis=1, keepdims=True)
    return weights, posterior[inverse.reshape(-1)]


def binomial_table(n: int, grid: Floats, counts: Ints) -> Floats:
    """Binomial(n, p) probabilities of `counts` for every p of the grid, normalised over them: (G, len(counts))."""
    c = counts.astype(float)
    constant = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
    log = constant[None, :] + xlogy(c[None, :], grid[:, None]) + xlog1py(n - c[None, :], -grid[:, None])
    table = np.exp(log)
    return np.asarray(table / table.sum(axis=1, keepdims=True))
