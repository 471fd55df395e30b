"""MRD: how much the likelihood of a memory moves when the weights are shaken (arXiv 2504.06658)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.evidence import Passes, Piece
from leakatk.metrics.pieces import Answer

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Shaken(Piece):
    """Log-probabilities of an answer's tokens under the weights (first row) and under each draw of noise: (1 + draws, T).

    Draw i is the same noise for every answer. The end token counts.
    """

    of: Answer
    deviation: float
    draws: int

    @property
    def batch(self) -> object:
        return self.deviation, self.draws

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[npt.NDArray[np.float64]]:
        import torch

        from leakatk.models.placement import refuse_codes, refuse_spread
        from leakatk.models.token_stats import token_stats
        from leakatk.models.weights import swapped

        refuse_codes(loaded.model, "Noise in the weights", "leave out --metric mrd, or --load-in")
        refuse_spread(loaded.model, "Noise in the weights")
        pairs = Answer.pairs(loaded, [piece.of for piece in pieces])
        rows = [[one.logprob] for one in token_stats(loaded, pairs)]
        for draw in range(pieces[0].draws):
            generator = torch.Generator().manual_seed(draw)
            moved = {}
            for name, value in loaded.model.named_parameters():
                noise = torch.randn(value.shape, generator=generator) * pieces[0].deviation
                moved[name] = value.detach() + noise.to(value)
            with swapped(loaded.model, moved):
                for row, found in zip(rows, token_stats(loaded, pairs), strict=True):
                    row.append(found.logprob)
        return [np.stack(row) for row in rows]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(list(Answer.pairs(loaded, [piece.of for piece in pieces])) * (1 + pieces[0].draws))

    def stand_in(self) -> npt.NDArray[np.float64]:
        return np.full((1 + self.draws, 2), -1.0)

    @staticmethod
    def row(value: npt.NDArray[np.float64]) -> Mapping[str, Any]:
        return {"value": value.tolist()}

    @staticmethod
    def read(row: Mapping[str, Any]) -> npt.NDArray[np.float64]:
        return np.array(row["value"], dtype=np.float64)


def mrd(shaken: npt.NDArray[np.float64]) -> float:
    """|mean over draws of sum over t of (log p_t - log p'_t) / log p_t|. shaken: (1 + draws, T), the first row without noise.

    Tokens that the model is sure of to the last digit (log p = 0) have no such ratio and are left out; NaN where none is left.
    """
    own, others = shaken[0], shaken[1:]
    known = own < 0
    if not known.any():
        return float("nan")
    return float(abs(np.mean(np.sum((own[known] - others[:, known]) / own[known], axis=1))))


@metric(
    "mrd",
    summary="How much the likelihood of the forget answers moves when noise is added to the weights: low is hard to unlearn.",
    paper="MRD, arXiv 2504.06658",
    formula="|E_{d ~ N(0, s^2 I)} sum over t of (log p_t(theta) - log p_t(theta + d)) / log p_t(theta)|, mean over answers",
    source="s = .01 and 8 draws are ours, each draw the same for all answers",
    reading="The ratio is relative to the token's own log-probability, which makes tokens that the model is nearly sure of count most",
    rows=("63",),
    values=("mrd", "mrd_median", "mrd_answers_left_out", "mrd_tokens_left_out"),
    needs=("forget",),
)
def memory_removal_difficulty(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    settings = evidence.settings
    shaken = evidence.get(
        Shaken(Answer(p.question, p.answer), settings.noise, settings.draws) for p in benchmark.forget
    )
    each = np.array([mrd(one) for one in shaken])
    known = each[~np.isnan(each)]
    return {
        "mrd": float(known.mean()) if known.size else float("nan"),
        "mrd_median": float(np.median(known)) if known.size else float("nan"),
        "mrd_answers_left_out": float(np.isnan(each).sum()),
        "mrd_tokens_left_out": float(sum(int(np.sum(one[0] >= 0)) for one in shaken)),
    }
