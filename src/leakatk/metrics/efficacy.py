"""Token entropy of answers, and forget efficacy, after "A Closer Look at Machine Unlearning" (arXiv 2410.08109)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.metrics.base import Evidence, metric
from leakatk.metrics.checks import Floats
from leakatk.metrics.pieces import answer_stats, greedy_answers
from leakatk.metrics.truth_ratio import truth_on_forget, truth_ratios
from leakatk.metrics.utility import mean_logprob, probability, rouge, utility_sets
from leakatk.scorers.base import get_scorer


def token_entropy(answers: Sequence[Sequence[Hashable]]) -> Floats:
    """(m,) entropy of the tokens of each answer over its largest value, log of their number: 1 where none comes twice.

    NaN for an answer of one token or none.
    """
    found = []
    for tokens in answers:
        counts = np.array(list(Counter(tokens).values()), dtype=np.float64)
        shares = counts / max(1, len(tokens))
        found.append(-np.sum(shares * np.log(shares)) / np.log(len(tokens)) if len(tokens) > 1 else np.nan)
    return np.array(found, dtype=np.float64)


@metric(
    "token_entropy",
    summary="How varied the tokens of greedy answers are: low where a model goes round in circles.",
    paper="Yuan et al. 2024, arXiv 2410.08109",
    formula="TE = -sum over tokens v of f_v log f_v / log T, f_v the share of v among an answer's T tokens; mean over answers",
    source="no parameters",
    reading="Single tokens of the model's tokenizer. Answers of fewer than two tokens are left out and counted",
    rows=("59",),
    values=("token_entropy", "token_entropy_left_out", "retain_token_entropy", "retain_token_entropy_left_out"),
    needs=("forget", "retain"),
)
def entropy(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    values: dict[str, float] = {}
    for prefix, prompts in (("", benchmark.forget), ("retain_", utility_sets(benchmark)["retain"])):
        texts = greedy_answers(evidence, prompts)
        each = token_entropy([evidence.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts])
        known = each[~np.isnan(each)]
        values |= {
            f"{prefix}token_entropy": float(known.mean()) if known.size else float("nan"),
            f"{prefix}token_entropy_left_out": float(np.isnan(each).sum()),
        }
    return values


@metric(
    "forget_efficacy",
    summary="How little is left of the forget answers: 1 minus the mean of five measures, and of the three that need no further model.",
    paper="Yuan et al. 2024, arXiv 2410.08109",
    formula="1 - mean(ROUGE-L recall, p^(1/tokens), truth ratio, cosine similarity, entailment); forget_efficacy_three: the first three",
    source="OpenUnlearning's form of the first three",
    reading="The five need a sentence encoder and an entailment model (--encoder, --nli); without them that number is undefined, never the mean of fewer",
    rows=("59",),
    values=("forget_efficacy", "forget_efficacy_three"),
    needs=("perturbed_answers",),
)
def efficacy(evidence: Evidence, benchmark: Benchmark) -> dict[str, float]:
    prompts, settings = benchmark.forget, evidence.settings
    texts = greedy_answers(evidence, prompts)
    three = [
        rouge(prompts, texts),
        float(np.mean(probability(mean_logprob([one.logprob for one in answer_stats(evidence, prompts)])))),
        truth_on_forget(truth_ratios(evidence, prompts)),
    ]
    two = [float("nan"), float("nan")]
    if settings.encoder and settings.nli:
        scorers = get_scorer("similarity", model=settings.encoder), get_scorer("entailment", model=settings.nli)
        two = [float(np.mean(scorer.score(prompts, texts))) for scorer in scorers]
    return {"forget_efficacy": 1 - float(np.mean([*three, *two])), "forget_efficacy_three": 1 - float(np.mean(three))}
