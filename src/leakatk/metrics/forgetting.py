"""Forgetting, how much of the forget answers is left: probability, ROUGE, and MUSE's knowledge memorisation."""

from __future__ import annotations

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.muse import KNOWMEM_TOKENS
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.fluency import broken_share
from leakatk.metrics.pieces import answer_stats, greedy_answers
from leakatk.metrics.utility import mean_logprob, probability, rouge
from leakatk.scorers.base import get_scorer


@metric(
    "forgetting",
    summary="Probability and ROUGE-L recall of the forget answers.",
    paper="Maini et al. 2024 (TOFU), arXiv 2401.06121",
    formula="mean of p(answer)^(1/tokens); mean ROUGE-L recall of the greedy answer",
    source="OpenUnlearning's code",
    rows=("33",),
    values=("forget_prob", "forget_rouge"),
    needs=("forget",),
)
def forgetting(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    stats = answer_stats(evidence, benchmark.forget)
    return {
        "forget_prob": float(np.mean(probability(mean_logprob([one.logprob for one in stats])))),
        "forget_rouge": rouge(benchmark.forget, greedy_answers(evidence, benchmark.forget)),
    }


@metric(
    "knowmem",
    summary="Knowledge questions to forget and to keep, in the few-shot prompt of MUSE.",
    paper="Shi et al. 2024 (MUSE), arXiv 2407.06460",
    formula="ROUGE-L F1 of the greedy answer, 32 tokens; forget_broken: share of the forget answers that are no text",
    source="muse_bench: no stemmer, the answer ends where the next question begins",
    rows=("7",),
    values=("knowmem_forget", "knowmem_retain", "forget_broken"),
    needs=("forget", "retain", "templates.forget", "templates.retain"),
    example="leakatk bench muse/news --model MODEL --metric knowmem --out results",
)
def knowmem(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    scorer = get_scorer("rouge-l:part=f1,stem=no")
    parts = {"forget": benchmark.forget, "retain": benchmark.retain}
    said = {
        part: greedy_answers(evidence, prompts, benchmark.templates[part], KNOWMEM_TOKENS)
        for part, prompts in parts.items()
    }
    values = {f"knowmem_{part}": float(np.mean(scorer.score(prompts, said[part]))) for part, prompts in parts.items()}
    return {**values, "forget_broken": broken_share(said["forget"])}
