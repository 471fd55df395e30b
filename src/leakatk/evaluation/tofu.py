"""TOFU-style evaluation of one model on a benchmark: every number of the table beside leak@k.

Works on any `Benchmark` with the columns TOFU has (paraphrased and perturbed answers), the built-in world included.
What cannot be computed from the benchmark at hand is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from leakatk import privacy, utility
from leakatk.benchmarks.base import Benchmark
from leakatk.data import Prompt
from leakatk.errors import InputError
from leakatk.evaluation.attacks import attack_scores, attack_values
from leakatk.evaluation.base import Evaluation, Floats, Scores, against
from leakatk.evaluation.greedy import Greedy, native_greedy
from leakatk.forcing import TokenStats, answer_pairs, token_stats
from leakatk.models import LoadedModel
from leakatk.scorers.base import get_scorer

UTILITY_SETS = ("retain", "real_authors", "world_facts")


def evaluate(
    loaded: LoadedModel,
    benchmark: Benchmark,
    *,
    greedy: Greedy = native_greedy,
    retrained: Evaluation | None = None,
    grad_norm: bool = False,
) -> Evaluation:
    """Probability, ROUGE, truth ratio, model utility, forget quality, memorisation, attacks and PrivLeak.

    greedy: gives the greedy answer of each prompt.  retrained: the evaluation of the model trained without the forget
    data, for what `against` adds.  grad_norm: also the gradient-norm attack. Every further set of the benchmark gets
    "set:NAME rouge", and "set:NAME fact" where its prompts name their facts.
    """
    if not benchmark.forget:
        raise InputError(f"Benchmark {benchmark.name} has no forget prompts; there is nothing to evaluate.")
    forget = _stats(loaded, benchmark.forget, [p.answer for p in benchmark.forget])
    ends = loaded.tokenizer.eos_token_id is not None
    words = [s.without_end() for s in forget] if ends else forget  # what is memorised, as OpenUnlearning counts it
    right, wrong = _right_and_wrong(loaded, benchmark.forget)
    ratios = utility.truth_ratio(right, wrong) if wrong else np.zeros(0)
    texts = list(greedy(loaded, benchmark.forget))
    values: dict[str, float] = {
        "forget_prob": float(np.mean(_probability(forget))),
        "forget_rouge": _rouge(benchmark.forget, texts),
        "forget_truth": _summary(utility.truth_on_forget, ratios),
        "forget_truth_paper": utility.truth_on_forget(utility.truth_ratio(right, wrong, "paper"))
        if wrong
        else math.nan,
        "forget_broken": privacy.broken_share(texts),
        "exact_memorization": float(np.nanmean(utility.exact_memorization([s.correct for s in words]))),
        "extraction_strength": float(np.nanmean(utility.extraction_strength([s.correct for s in words]))),
        **_utility(loaded, benchmark, greedy),
        **_further_sets(loaded, benchmark, greedy),
    }
    scores: Scores = {}
    if benchmark.holdout:
        forget_side, holdout_side = (
            (answer_pairs(loaded, [p.text for p in side], [p.answer for p in side]), [p.answer for p in side])
            for side in (benchmark.forget, benchmark.holdout)
        )
        scores = attack_scores(loaded, forget_side, holdout_side, ends=ends, grad_norm=grad_norm)
    return against(Evaluation({**values, **attack_values(scores)}, ratios, scores), retrained)


def utility_sets(benchmark: Benchmark) -> dict[str, tuple[Prompt, ...]]:
    """The three sets of model utility (`UTILITY_SETS`). retain: TOFU's perturbed retain rows, else the held retain prompts."""
    return {
        "retain": benchmark.sets.get("retain") or benchmark.retain_held or benchmark.retain,
        "real_authors": benchmark.sets.get("real_authors", ()),
        "world_facts": benchmark.sets.get("world_facts", ()),
    }


def _utility(loaded: LoadedModel, benchmark: Benchmark, greedy: Greedy) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, prompts in utility_sets(benchmark).items():
        if not prompts:
            values |= {f"{name}_{kind}": math.nan for kind in ("prob", "rouge", "truth")}
            continue
        right = _probability(_stats(loaded, prompts, [p.answer for p in prompts]))
        if name != "retain" and all(p.perturbed_answers for p in prompts):
            wrong = [np.exp(row) for row in _wrong(loaded, prompts)]
            right = utility.choice_probability(right, wrong)
        texts = list(greedy(loaded, prompts))
        values |= {
            f"{name}_prob": float(np.mean(right)),
            f"{name}_rouge": _rouge(prompts, texts),
            f"{name}_truth": _summary(utility.truth_on_utility, _truth_ratios(loaded, prompts)),
        }
    values["model_utility"] = utility.model_utility(values)
    return values


def _further_sets(loaded: LoadedModel, benchmark: Benchmark, greedy: Greedy) -> dict[str, float]:
    """Greedy ROUGE-L recall, and facts said, on the sets that are no part of model utility (neighbours, multi-hop ...)."""
    values = {}
    for name, prompts in benchmark.sets.items():
        if name in UTILITY_SETS or not prompts:
            continue
        texts = list(greedy(loaded, prompts))
        values[f"set:{name} rouge"] = _rouge(prompts, texts)
        if all(p.facts for p in prompts):
            values[f"set:{name} fact"] = float(np.mean(get_scorer("fact").score(prompts, texts)))
    return values


def _stats(loaded: LoadedModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[TokenStats]:
    return token_stats(loaded, answer_pairs(loaded, [p.text for p in prompts], answers))


def _probability(stats: Sequence[TokenStats]) -> Floats:
    return utility.probability(utility.mean_logprob([s.logprob for s in stats]))


def _wrong(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[Floats]:
    """Mean token log-probability of each wrong answer, a row a prompt."""
    flat = [(p, answer) for p in prompts for answer in p.perturbed_answers]
    means = iter(utility.mean_logprob([s.logprob for s in _stats(loaded, [p for p, _ in flat], [a for _, a in flat])]))
    return [np.array([next(means) for _ in p.perturbed_answers]) for p in prompts]


def _right_and_wrong(loaded: LoadedModel, prompts: Sequence[Prompt]) -> tuple[Floats, list[Floats]]:
    """Mean token log-probability of the right answer (the paraphrased one where there is one) and of the wrong ones.

    Both empty without wrong answers.
    """
    if not all(p.perturbed_answers for p in prompts):
        return np.zeros(0), []
    right = _stats(loaded, prompts, [p.paraphrased_answer or p.answer for p in prompts])
    return utility.mean_logprob([s.logprob for s in right]), _wrong(loaded, prompts)


def _truth_ratios(loaded: LoadedModel, prompts: Sequence[Prompt]) -> Floats:
    """Truth ratios in the OpenUnlearning convention. Empty without wrong answers."""
    right, wrong = _right_and_wrong(loaded, prompts)
    return utility.truth_ratio(right, wrong) if wrong else np.zeros(0)


def _rouge(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    return float(np.mean(get_scorer("rouge-l").score(prompts, texts)))


def _summary(summarise: Callable[[Floats], float], ratios: Floats) -> float:
    return summarise(ratios) if ratios.size else math.nan
