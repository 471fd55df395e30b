"""What the estimators promise, checked by simulation: bias, coverage and width of intervals, bounds and forecasts.

    python benchmarks/estimators.py [--sims 2000] [--json FILE]

Prints tables and writes them as JSON. Nothing here trains or samples a model: prompts leak with known probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from leakatk.estimate.exact import leak_from_probability
from leakatk.estimate.leak import leak_at_k

Array = NDArray[np.float64]
KS = (1, 2, 4, 8, 16, 32, 64, 128, 200)


def rare(rng: np.random.Generator, m: int) -> Array:
    """Every prompt leaks rarely: 1e-5 to 1e-3 a sample."""
    return 10 ** rng.uniform(-5, -3, m)


def heavy(rng: np.random.Generator, m: int) -> Array:
    """70% practically never, 22% with 5e-4 to 5e-2, 8% often."""
    kind = rng.random(m)
    return np.where(
        kind < 0.70, 1e-7, np.where(kind < 0.92, 10 ** rng.uniform(-3.3, -1.3, m), rng.uniform(0.1, 0.9, m))
    )


def bimodal(rng: np.random.Generator, m: int) -> Array:
    """Half around .01, half around .9."""
    return np.where(rng.random(m) < 0.5, rng.beta(0.5, 50, m), rng.beta(20, 2, m))


PROFILES: dict[str, Callable[[np.random.Generator, int], Array]] = {"rare": rare, "heavy": heavy, "bimodal": bimodal}


@dataclass(frozen=True)
class Coverage:
    """Share of simulations whose interval held the truth, mean width, and share missed on each side; (K,) each."""

    truth: Array
    covered: Array
    width: Array
    below: Array  # the truth lay below the interval
    above: Array


def draw(rng: np.random.Generator, p: Array, n: int) -> Array:
    return (rng.random((p.size, n)) < p[:, None]).astype(float)


def coverage(
    profile: str,
    over: str,
    *,
    sims: int,
    m: int = 400,
    n: int = 200,
    ks: tuple[int, ...] = KS,
    seed: int = 0,
    level: float = 0.95,
) -> Coverage:
    """Coverage of `leak_at_k` intervals. over="samples": prompts fixed; else new prompts in every simulation."""
    ks = tuple(k for k in ks if k <= n)
    rng = np.random.default_rng(seed)
    make = PROFILES[profile]
    fixed = make(rng, m)
    population = fixed if over == "samples" else make(np.random.default_rng(12345), 1_000_000)
    truth = np.array([leak_from_probability(population, k).mean() for k in ks])
    low, high = np.empty((sims, len(ks))), np.empty((sims, len(ks)))
    for s in range(sims):
        p = fixed if over == "samples" else make(rng, m)
        curve = leak_at_k(draw(rng, p, n), ks, over=over, level=level)
        low[s], high[s] = curve.low, curve.high
    below, above = (truth < low).mean(axis=0), (truth > high).mean(axis=0)
    return Coverage(truth, 1 - below - above, (high - low).mean(axis=0), below, above)
