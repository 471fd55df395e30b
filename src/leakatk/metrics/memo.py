"""MEMO of the forget answers: how much of each the model says when it is given the question and a beginning."""

from __future__ import annotations

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.pieces import Greedy
from leakatk.synthesis.memo import TOKENS, begun, memo


@metric(
    "memo",
    summary="How much of the forget answers the model says after the question and a beginning of the answer.",
    paper="Gu et al. 2024 (MEOW), arXiv 2409.11844",
    formula="MEMO = mean over answers, and over the beginnings of 1, 6, 11 ... characters, of ROUGE-1(greedy continuation, rest)",
    source="the authors' code: precision of up to 200 tokens, stemmed; its recall beside it",
    reading="An end token is not counted as a word said, as it is there. Answers of one character have no beginning and are left out",
    rows=("100",),
    values=("memo", "memo_recall", "memo_left_out"),
    needs=("forget",),
)
def memorised_beginnings(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    asked = [begun(prompt.question, prompt.answer) for prompt in benchmark.forget]
    texts = iter(evidence.get(Greedy(query, tokens=TOKENS) for row in asked for query in row))
    said = [[next(texts) for _ in row] for row in asked]
    answers = [prompt.answer for prompt in benchmark.forget]
    found = {part: memo(answers, said, part=part) for part in ("precision", "recall")}
    has = ~np.isnan(found["precision"])
    means = {part: float(values[has].mean()) if has.any() else float("nan") for part, values in found.items()}
    return {"memo": means["precision"], "memo_recall": means["recall"], "memo_left_out": float((~has).sum())}
