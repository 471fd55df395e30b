"""Loss of the words that carry an answer beside the loss of the words around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.evidence import Pairs, Passes, Piece
from leakatk.prompts import Prompt
from leakatk.scorers.keys import key_tokens

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


@dataclass(frozen=True)
class Marked(Piece):
    """What the model thinks of each token of a prompt's answer, its end token left out, and which hold a key: (2, tokens)."""

    prompt: Prompt

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        from leakatk.models.token_stats import answer_pairs

        prompts = [piece.prompt for piece in pieces]
        return answer_pairs(loaded, [p.question for p in prompts], [p.answer for p in prompts], end=False)

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[Floats]:
        from leakatk.models.token_stats import token_stats

        def text(ids: Sequence[int]) -> str:
            return str(loaded.tokenizer.decode(ids, skip_special_tokens=True))

        pairs = cls.pairs(loaded, pieces)
        return [
            np.array([stats.logprob, key_tokens(ids, piece.prompt, text)])
            for piece, stats, (_, ids) in zip(pieces, token_stats(loaded, pairs), pairs, strict=True)
        ]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        return Passes(cls.pairs(loaded, pieces))

    def stand_in(self) -> Floats:
        return np.array([[-1.0, -2.0], [0.0, 1.0]])

    @staticmethod
    def row(value: Floats) -> Mapping[str, Any]:
        return {"value": value.tolist()}

    @staticmethod
    def read(row: Mapping[str, Any]) -> Floats:
        return np.array(row["value"], dtype=np.float64)


def losses(found: Sequence[Floats]) -> tuple[float, float, int]:
    """(loss around the keys, loss of the keys, answers that have both), in nats a token: the mean over answers of their means.

    found: (2, tokens) each, log-probabilities and marks. NaN where no answer has tokens of both kinds.
    """
    both = [row for row in found if 0 < row[1].sum() < row.shape[1]]
    if not both:
        return float("nan"), float("nan"), 0
    around, keys = (
        float(np.mean([-row[0][(row[1] > 0) == marked].mean() for row in both])) for marked in (False, True)
    )
    return around, keys, len(both)


@metric(
    "keyword_loss",
    summary="Loss of the words around an answer's facts over the loss of its facts: what was unlearned, the form or the fact?",
    paper="arXiv 2602.03379",
    formula="L_template / L_keyword, L the mean of -log p over the tokens of one kind, then over answers",
    source="the ratio is the paper's",
    reading="Key words are names and numbers that the question does not say, as the scorer keys has them; the ratio is of means over "
    "answers that have both kinds, the end token left out. Far above the retrained model's: the form went, and may come back without the fact",
    rows=("105",),
    values=("template_loss", "keyword_loss", "loss_ratio", "keyed_answers"),
    needs=("forget",),
    example="leakatk bench world --model MODEL --retrained RETRAINED --metric keyword_loss --out results",
)
def keyword_loss(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    around, keys, answers = losses(evidence.get(Marked(prompt) for prompt in benchmark.forget))
    ratio = around / keys if keys else float("nan")
    return {"template_loss": around, "keyword_loss": keys, "loss_ratio": ratio, "keyed_answers": float(answers)}
