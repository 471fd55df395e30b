"""Context questions: is the fact still answered when it stands in the prompt (CAU)?"""

from __future__ import annotations

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.forms import with_context
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.pieces import Greedy, greedy_answers
from leakatk.metrics.utility import rouge
from leakatk.prompts import Query
from leakatk.scorers.base import get_scorer


@metric(
    "context_questions",
    summary="Are forget questions answered when the answer stands before them, and when it does not?",
    paper="context-aware unlearning (CAU)",
    formula="ROUGE-L recall and share of facts said of greedy answers, with the answer as context and without",
    source="no parameters",
    reading="The context is the true answer itself. With it high is good: the model reads; without it low is good",
    rows=("34",),
    values=("context_rouge", "context_fact", "direct_rouge", "direct_fact"),
    needs=("forget",),
)
def context(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    prompts = benchmark.forget
    told = evidence.get(Greedy(Query(with_context(prompt.question, prompt.answer))) for prompt in prompts)
    values: dict[str, float] = {}
    for name, texts in (("context", told), ("direct", greedy_answers(evidence, prompts))):
        values |= {
            f"{name}_rouge": rouge(prompts, texts),
            f"{name}_fact": float(np.nanmean(get_scorer("fact").score(prompts, texts))),
        }
    return values
