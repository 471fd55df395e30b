"""What the estimators promise, checked by simulation: bias, coverage and width of intervals, bounds and forecasts.

    python performance/estimators.py [--sims 2000] [--json FILE]

Prints tables and writes them as JSON. Nothing here trains or samples a model: prompts leak with known probabilities.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from leakatk.estimate.certify import certify
from leakatk.estimate.forecast import bounds_from_counts, model_line
from leakatk.estimate.from_probability import leak_from_probability
from leakatk.estimate.leak import leak_at_k
from leakatk.estimate.ustatistic import per_prompt_leak

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


def smooth(rng: np.random.Generator, m: int) -> Array:
    """Scores on 0, .05, .. 1, a bell around the prompt's own mean, .2 on average: (m, 21) probabilities."""
    mean = rng.beta(1, 4, m)
    return _bell(mean, 20)


def spiky(rng: np.random.Generator, m: int) -> Array:
    """A bell around .15 or .4, and for 30% of the prompts, with 1e-3 to 1e-1, the full score."""
    chance = _bell(np.where(rng.random(m) < 0.8, 0.15, 0.4), 30)
    full = np.where(rng.random(m) < 0.3, 10 ** rng.uniform(-3, -1, m), 0)
    chance *= 1 - full[:, None]
    chance[:, -1] += full
    return chance


def gated(rng: np.random.Generator, m: int) -> Array:
    """As smooth, but 0 unless a rare gate opens: 30% of the prompts with 3e-4 to 1e-1, the others with 1e-6."""
    gate = np.where(rng.random(m) < 0.3, 10 ** rng.uniform(-3.5, -1, m), 1e-6)
    chance = smooth(rng, m) * gate[:, None]
    chance[:, 0] += 1 - gate
    return chance


def _bell(mean: Array, concentration: float) -> Array:
    edges = np.linspace(0.025, 1.025, LEVELS.size)
    reached = beta.cdf(edges, concentration * mean[:, None], concentration * (1 - mean[:, None]))
    return np.diff(reached, axis=1, prepend=0)


LEVELS = np.linspace(0, 1, 21)
GRADED: dict[str, Callable[[np.random.Generator, int], Array]] = {"smooth": smooth, "spiky": spiky, "gated": gated}


@dataclass(frozen=True)
class Coverage:
    """Share of simulations whose interval held the truth, mean width, and share missed on each side; (K,) each."""

    truth: Array
    covered: Array
    width: Array
    below: Array  # the truth lay below the interval
    above: Array


def draw(rng: np.random.Generator, p: Array, n: int) -> Array:
    """(m, n) scores; p: leak probabilities (m,), or probabilities of the score levels (m, 21)."""
    u = rng.random((len(p), n))
    if p.ndim == 1:
        return (u < p[:, None]).astype(float)
    reached = p.cumsum(axis=1)
    return LEVELS[np.stack([np.searchsorted(row[:-1], x) for row, x in zip(reached, u, strict=True)])]


def true_leak(p: Array, k: int) -> float:
    """Mean leak@k of prompts with these probabilities, as in `draw`."""
    if p.ndim == 1:
        return float(leak_from_probability(p, k).mean())
    below = np.minimum(p.cumsum(axis=1), 1) ** k
    return float((np.diff(below, axis=1, prepend=0) @ LEVELS).mean())


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
    make = {**PROFILES, **GRADED}[profile]
    fixed = make(rng, m)
    population = fixed if over == "samples" else make(np.random.default_rng(12345), 1_000_000)
    truth = np.array([true_leak(population, k) for k in ks])
    low, high = np.empty((sims, len(ks))), np.empty((sims, len(ks)))
    for s in range(sims):
        p = fixed if over == "samples" else make(rng, m)
        curve = leak_at_k(draw(rng, p, n), ks, over=over, level=level)
        low[s], high[s] = curve.low, curve.high
    below, above = (truth < low).mean(axis=0), (truth > high).mean(axis=0)
    return Coverage(truth, 1 - below - above, (high - low).mean(axis=0), below, above)


def certificates(profile: str, *, sims: int, m: int = 400, n: int = 200, seed: int = 0) -> tuple[Array, Array]:
    """Share of simulations in which the 95% upper bound held, and its mean distance to the truth, (K,) each."""
    rng = np.random.default_rng(seed)
    held, slack = np.zeros(len(KS)), np.zeros(len(KS))
    for _ in range(sims):
        p = PROFILES[profile](rng, m)
        distance = certify(draw(rng, p, n), KS).high - [true_leak(p, k) for k in KS]
        held += distance >= 0
        slack += distance
    return held / sims, slack / sims


def forecasts(profile: str, *, sims: int, m: int = 400, n: int = 200, seed: int = 0) -> dict[str, list[float]]:
    """Guaranteed bounds from counts, and the model-based line, at k = 2n, 5n, 10n: coverage, width, mean error."""
    rng = np.random.default_rng(seed)
    ks = [2 * n, 5 * n, 10 * n]
    held, width, error = np.zeros(3), np.zeros(3), np.zeros(3)
    for _ in range(sims):
        p = PROFILES[profile](rng, m)
        counts = rng.binomial(n, p)
        low, high = bounds_from_counts(counts, n, ks)
        truth = np.array([leak_from_probability(p, k).mean() for k in ks])
        held += (low <= truth) & (truth <= high)
        width += high - low
        error += np.abs(model_line(counts, n, ks) - truth)
    return {"k": ks, "covered": list(held / sims), "width": list(width / sims), "line_error": list(error / sims)}


def speed() -> float:
    """Milliseconds for leak@k of 400 x 200 graded scores at every k (median of 9)."""
    scores, ks, times = np.random.default_rng(0).random((400, 200)), range(1, 201), []
    for _ in range(9):
        start = time.perf_counter()
        per_prompt_leak(scores, list(ks))
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sims", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    record: dict[str, Any] = {"sims": arguments.sims, "ms_400x200_all_k": speed(), "coverage": {}}
    record |= {"certified": {}, "forecast": {}}
    print(f"leak@k of 400 x 200 graded scores, every k: {record['ms_400x200_all_k']:.1f} ms\n")
    print(f"Coverage (mean width) of 95% intervals, 400 x 200, {arguments.sims} simulations")
    print(f"{'profile':<9}{'over':<9}" + "".join(f"k={k:<14}" for k in KS))
    for profile, over in product((*PROFILES, *GRADED), ("samples", "prompts", "both")):
        found = coverage(profile, over, sims=arguments.sims, seed=2)
        record["coverage"][f"{profile}/{over}"] = {"covered": list(found.covered), "width": list(found.width)}
        cells = [f"{c:.3f} ({w:.4f})  " for c, w in zip(found.covered, found.width, strict=True)]
        print(f"{profile:<9}{over:<9}" + "".join(cells), flush=True)
    print("\nCoverage (mean distance to the truth) of certified upper bounds")
    for profile in PROFILES:
        held, slack = certificates(profile, sims=max(20, arguments.sims // 10))
        record["certified"][profile] = {"covered": list(held), "slack": list(slack)}
        print(f"{profile:<18}" + "".join(f"{c:.3f} ({w:.4f})  " for c, w in zip(held, slack, strict=True)), flush=True)
    print("\nForecasts from counts at k = 2n, 5n, 10n: coverage, width; mean error of the model-based line")
    for profile in PROFILES:
        row = forecasts(profile, sims=max(20, arguments.sims // 10))
        record["forecast"][profile] = row
        print(f"{profile:<9}" + "  ".join(f"{key} " + " ".join(f"{x:.3f}" for x in row[key]) for key in list(row)[1:]))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
