"""Control of comparisons (UWC): extraction asked in other words, and models compared where they keep equally much."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from rapidfuzz.distance import LCSseq

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.evidence import Pairs, Passes, Piece
from leakatk.metrics.memorisation import extraction_strength
from leakatk.metrics.pieces import Answer, Continuations
from leakatk.metrics.utility import utility_sets

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel

KEEP = 0.95  # of the original's extraction strength on the retain set, as published
TRIES = 8  # of the bisection: the share to 1/256


def similar_strength(ids: Sequence[int], said: Sequence[Sequence[int]], least: float = 0.5) -> float:
    """1 - k/T, k the shortest prefix after which the greedy continuation has a common subsequence of `least` of what follows.

    said: the continuation after 0, 1, 2 ... tokens. 0 where there is no such prefix; NaN for no tokens.
    """
    for k, text in enumerate(said):
        if LCSseq.similarity(list(text), list(ids[k:])) >= least * (len(ids) - k):
            return 1 - k / len(ids)
    return 0.0 if len(ids) else float("nan")


@metric(
    "extraction_reworded",
    summary="How much of a forget answer is completed after other wordings of its question, and completed nearly.",
    paper="Wang et al. 2024 (UWC), arXiv 2406.09179",
    formula="extraction strength after each paraphrase of the question, mean and largest; 1 - k/T with LCS(said after k, rest) >= .5 of the rest",
    source=".5 as published; the end token does not count",
    reading="The largest is over the wordings of a question, then averaged over questions",
    rows=("109",),
    values=("extraction_reworded", "extraction_reworded_most", "extraction_similar"),
    needs=("paraphrases",),
)
def reworded(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    prompts = benchmark.forget
    stats = iter(evidence.get(Answer(question, p.answer) for p in prompts for question in p.paraphrases))
    each = [
        extraction_strength([_words(evidence, next(stats)).correct for _ in prompt.paraphrases]) for prompt in prompts
    ]
    said = evidence.get(Continuations(Answer(p.question, p.answer), 0) for p in prompts)
    return {
        "extraction_reworded": float(np.mean([row.mean() for row in each])),
        "extraction_reworded_most": float(np.mean([row.max() for row in each])),
        "extraction_similar": float(np.nanmean([similar_strength(*one) for one in said])),
    }


def _words(evidence: Evidence, stats: Any) -> Any:
    return stats.without_end() if evidence.ends else stats


@dataclass(frozen=True)
class Controlled(Piece):
    """(share, strength on the forget set, on the retain set, on that of the original): the weights mixed back, see `control`.

    original: where the model before unlearning is; identity: its fingerprint, by which the value is kept.
    """

    forget: tuple[Answer, ...]
    retain: tuple[Answer, ...]
    original: str
    identity: str
    keep: float = KEEP
    tries: int = TRIES

    @classmethod
    def compute(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> list[tuple[float, ...]]:
        return [piece._search(loaded) for piece in pieces]

    def _search(self, loaded: LoadedModel) -> tuple[float, ...]:
        from leakatk.models.load import load_model
        from leakatk.models.placement import refuse_codes, refuse_spread
        from leakatk.models.token_stats import token_stats
        from leakatk.models.weights import put, swapped, weights_of

        refuse_codes(loaded.model, "Mixing weights", "leave out --metric control, or --load-in")
        refuse_spread(loaded.model, "Mixing weights")
        start = weights_of(load_model(self.original, device="cpu").model)
        end = weights_of(loaded.model)
        if {n: w.shape for n, w in start.items()} != {n: w.shape for n, w in end.items()}:
            raise InputError(
                f"The original {self.original} has other weights than {loaded.name}, so that they cannot be mixed; give the model that "
                "unlearning began with."
            )
        ends = loaded.template.end_id(loaded.tokenizer) is not None

        def strength(part: Sequence[Answer], share: float) -> float:
            put(
                loaded.model,
                {name: (share * start[name].float() + (1 - share) * w.float()).to(w) for name, w in end.items()},
            )
            stats = token_stats(loaded, Answer.pairs(loaded, part))
            return float(np.nanmean(extraction_strength([(s.without_end() if ends else s).correct for s in stats])))

        with swapped(loaded.model, end):
            before = strength(self.retain, 1.0)
            share = smallest_share(lambda a: strength(self.retain, a) >= self.keep * before, self.tries)
            return share, strength(self.forget, share), strength(self.retain, share), before

    @classmethod
    def pairs(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Pairs:
        return [
            pair
            for piece in pieces
            for part, times in ((piece.retain, 3 + piece.tries), (piece.forget, 1))
            for pair in list(Answer.pairs(loaded, part)) * times
        ]

    @classmethod
    def passes(cls, loaded: LoadedModel, pieces: Sequence[Self]) -> Passes:
        """At most so much: a model that keeps enough is not searched."""
        return Passes(cls.pairs(loaded, pieces))

    def stand_in(self) -> tuple[float, ...]:
        return 0.0, 0.0, 1.0, 1.0

    @staticmethod
    def row(value: tuple[float, ...]) -> Mapping[str, Any]:
        return {"value": list(value)}

    @staticmethod
    def read(row: Mapping[str, Any]) -> tuple[float, ...]:
        return tuple(row["value"])


def smallest_share(enough: Any, tries: int = TRIES) -> float:
    """The smallest share in [0, 1] of the original for which `enough(share)` holds, to 2^-tries; 1 is taken to be enough.

    By bisection, as if what is kept rose with the share.
    """
    if enough(0.0):
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(tries):
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@metric(
    "control",
    summary="What is left of the forget answers once the weights are mixed back until as much is kept as before.",
    paper="Wang et al. 2024 (UWC), arXiv 2406.09179",
    formula="theta = a theta_0 + (1 - a) theta_u, the smallest a with ES(retain) >= .95 of theta_0's; then ES(forget)",
    source=".95 as published; a by bisection in 8 steps, to 1/256",
    reading="ES is taken on what is to be kept and no unlearner saw, where there is such a set. Compare models by controlled_forget, and with that of the "
    "retrained model; a model to which nothing must be given back has a = 0",
    rows=("109",),
    values=("control_share", "controlled_forget", "controlled_retain", "control_retain_original"),
    needs=("forget", "retain|retain_held", "auxiliary original"),
    example="leakatk bench world --model MODEL --auxiliary original=FULL --metric control --out results",
)
def control(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    other = evidence.beside["original"][0]
    parts = [
        tuple(Answer(p.question, p.answer) for p in prompts)
        for prompts in (benchmark.forget, utility_sets(benchmark)["retain"])
    ]
    [found] = evidence.get([Controlled(parts[0], parts[1], other.source, other.identity)])
    names = ("control_share", "controlled_forget", "controlled_retain", "control_retain_original")
    return dict(zip(names, map(float, found), strict=True))
