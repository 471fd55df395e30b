"""AUS: one score of what is kept and what is forgotten (DUCK)."""

from __future__ import annotations

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.accuracy import says
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.utility import utility_sets


def aus(original: float, test: float, distance: float) -> float:
    """(1 - (original - test)) / (1 + distance): 1 where the test accuracy is as before and nothing is left to forget."""
    return (1 - (original - test)) / (1 + distance)


@metric(
    "aus",
    summary="One score of keeping and forgetting: 1 where accuracy is as before and nothing of the forget set is answered.",
    paper="Cotogni et al. 2023 (DUCK), arXiv 2312.02052",
    formula="(1 - (A_test of the original - A_test)) / (1 + D), D = A_forget; aus_random: D = |A_test - A_forget|",
    source="both forms as published: for a class that goes, and for samples of every class",
    reading="A class is a person. Accuracy: the share of greedy answers with every fact. The test set is what is to be kept and no unlearner saw, "
    "where there is such a set",
    rows=("84",),
    values=("aus", "aus_random", "aus_test", "aus_forget"),
    needs=("retain|retain_held", "auxiliary original"),
    example="leakatk bench world --model MODEL --auxiliary original=FULL --metric aus --out results",
)
def adaptive(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    kept = utility_sets(benchmark)["retain"]
    before, test = (float(np.nanmean(says(one, kept))) for one in (evidence.beside["original"][0], evidence))
    forget = float(np.nanmean(says(evidence, benchmark.forget)))
    return {
        "aus": aus(before, test, forget),
        "aus_random": aus(before, test, abs(test - forget)),
        "aus_test": test,
        "aus_forget": forget,
    }
