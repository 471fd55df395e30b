"""KLoM: how far the margins of several unlearned models are from those of several retrained ones.

Georgiev et al., "Attribute-to-Delete: Machine Unlearning via Datamodel Matching", 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, known, mean
from leakatk.metrics.pieces import answer_stats
from leakatk.metrics.utility import utility_sets
from leakatk.prompts import Prompt

BINS = 20
SUREST = 1 - 1e-6  # as in the methods that match margins
SPLITS = 200  # at most, of all models into two groups as large as these


def margins(steps: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) mean over an answer's tokens of log(p / (1 - p)), from their log-probabilities; p counts as at most 1 - 1e-6."""
    found = []
    for logprobs in steps:
        p = np.minimum(np.exp(np.asarray(logprobs, dtype=np.float64)), SUREST)
        with np.errstate(divide="ignore"):  # p = 0 has no finite margin, and says so
            found.append(mean(np.log(p) - np.log1p(-p)))
    return np.array(found, dtype=np.float64)


def histogram_kl(unlearned: npt.ArrayLike, retrained: npt.ArrayLike, bins: int = BINS) -> float:
    """KL(retrained || unlearned) of the histograms of both over their common range; 0 where all values are equal.

    Each side gets one count more, spread over the bins, so that no bin is empty.
    """
    if bins < 2:
        raise InputError(f"bins must be at least 2, got {bins}.")
    left, right = (
        known(unlearned, "margins of the unlearned models"),
        known(retrained, "margins of the retrained models"),
    )
    both = np.concatenate([left, right])
    if both.min() == both.max():
        return 0.0
    edges = np.linspace(both.min(), both.max(), bins + 1)
    q, p = ((np.histogram(side, edges)[0] + 1 / bins) / (side.size + 1) for side in (left, right))
    return float(np.sum(p * np.log(p / q)))


def klom(unlearned: npt.NDArray[np.float64], retrained: npt.NDArray[np.float64], bins: int = BINS) -> Floats:
    """(m,) `histogram_kl` of each prompt. unlearned, retrained: (models, m) margins."""
    return np.array([histogram_kl(u, r, bins) for u, r in zip(unlearned.T, retrained.T, strict=True)])


def klom_alike(unlearned: npt.NDArray[np.float64], retrained: npt.NDArray[np.float64], bins: int = BINS) -> float:
    """Mean KLoM if nothing told the two groups apart: over splits of all models into groups of these sizes.

    Every split where there are at most 200, else 200 of them, evenly spread in the order of combinations.
    """
    models = np.concatenate([unlearned, retrained])
    splits = list(combinations(range(len(models)), len(unlearned))) if len(models) <= 20 else []
    if not splits:
        rng = np.random.default_rng(0)
        splits = [tuple(rng.permutation(len(models))[: len(unlearned)]) for _ in range(SPLITS)]
    chosen = splits[:: -(-len(splits) // SPLITS)]
    found = []
    for group in chosen:
        here = np.zeros(len(models), dtype=bool)
        here[list(group)] = True
        found.append(klom(models[here], models[~here], bins).mean())
    return float(np.mean(found))


@metric(
    "klom",
    summary="How far the margins of models made alike are from those of retrained ones, in nats; and how far they would be by chance.",
    paper="Georgiev et al. 2024 (datamodel matching), arXiv 2410.23232",
    formula="mean over prompts of KL(histogram of retrained margins || histogram of unlearned margins), a margin the mean of log(p / (1 - p))",
    source="20 bins over the common range",
    reading="The direction; one count more on each side, spread over the bins. _alike: the same for all splits of both groups together; only what is above it tells them apart",
    rows=("97",),
    values=("klom_forget", "klom_forget_alike", "klom_retain", "klom_retain_alike", "klom_unlearned", "klom_retrained"),
    needs=("forget", "retain", "retrained", "auxiliary alike", "auxiliary retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --auxiliary alike=MODEL-2 --auxiliary retrained=RETRAINED-2 "
    "--metric klom --out results",
)
def distances(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    assert evidence.retrained is not None  # what `needs` is for
    groups = (evidence, *evidence.beside["alike"]), (evidence.retrained, *evidence.beside["retrained"])
    values: dict[str, float] = {}
    for part, prompts in (("forget", benchmark.forget), ("retain", utility_sets(benchmark)["retain"])):
        mine, theirs = (np.stack([_margins(one, prompts) for one in group]) for group in groups)
        values |= {f"klom_{part}": float(klom(mine, theirs).mean()), f"klom_{part}_alike": klom_alike(mine, theirs)}
    return {**values, "klom_unlearned": float(len(groups[0])), "klom_retrained": float(len(groups[1]))}


def _margins(evidence: Evidence, prompts: Sequence[Prompt]) -> Floats:
    return margins([one.logprob for one in answer_stats(evidence, prompts)])
