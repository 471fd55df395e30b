"""Exposure: how far a true answer stands out among alternatives of the same form, and what training on it gained.

Carlini et al., "The Secret Sharer", 2019; for unlearning inside and outside the distribution, Baluta et al.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats, mean, number_rows, vector
from leakatk.metrics.pieces import answer_stats, right_stats, wrong_stats


def exposures(losses: npt.ArrayLike, alternatives: Sequence[npt.ArrayLike]) -> Floats:
    """(m,) log2 N - log2 rank of each loss among N candidates, itself included: 0 for the highest loss, log2 N for the lowest.

    losses: (m,) of the true answers; alternatives: those of the other candidates, a row each. Among equals the rank is their mean.
    """
    own = vector(losses, "losses")
    found = []
    for value, others in zip(own, number_rows(alternatives, len(own), "alternatives"), strict=True):
        rank = 1 + np.sum(others < value) + np.sum(others == value) / 2
        found.append(np.log2(len(others) + 1) - np.log2(rank))
    return np.array(found, dtype=np.float64)


@metric(
    "exposure",
    summary="How far the true forget answers stand out among wrong ones of the same form, in bits.",
    paper="Carlini et al. 2019, arXiv 1802.08232; for unlearning, Baluta et al.: in- and out-of-distribution unlearning",
    formula="log2 N - log2 rank of the mean token loss among the N answers of a prompt, the true one included",
    source="no parameters; a model without knowledge of the answers has 1 / ln 2 = 1.44 bits in the mean for many answers, 1.00 for six",
    reading="The alternatives are the wrong answers of the benchmark. They need not have the same number of tokens, so losses are per token",
    rows=("50",),
    values=("exposure", "exposure_most", "exposure_share_first"),
    needs=("perturbed_answers",),
)
def exposure(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    right = -np.array([mean(one.logprob) for one in right_stats(evidence, benchmark.forget)])
    wrong = [-np.array([mean(one.logprob) for one in row]) for row in wrong_stats(evidence, benchmark.forget)]
    bits = exposures(right, wrong)
    most = np.log2([len(row) + 1 for row in wrong])
    return {
        "exposure": float(bits.mean()),
        "exposure_most": float(most.mean()),
        "exposure_share_first": float(np.mean(bits == most)),
    }


@metric(
    "memorised_loss",
    summary="How much likelier the forget answers are than to the retrained model, in nats a token.",
    paper="Baluta et al.: in- and out-of-distribution unlearning",
    formula="mean over answers of NLL_retrained - NLL, NLL the mean over an answer's tokens",
    source="no parameters; below 0 the model knows less than one that never saw the data",
    rows=("50",),
    values=("memorised_loss", "memorised_share"),
    needs=("forget", "retrained"),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric memorised_loss --out results",
)
def memorised_loss(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    assert evidence.retrained is not None  # what `needs` is for
    mine, theirs = (
        np.array([mean(stats.logprob) for stats in answer_stats(one, benchmark.forget)])
        for one in (evidence, evidence.retrained)
    )
    return {"memorised_loss": float(np.mean(mine - theirs)), "memorised_share": float(np.mean(mine > theirs))}
