"""TOFU-style evaluation of one model on a benchmark: every number of the table beside leak@k.

Works on any `Benchmark` with the columns TOFU has (paraphrased and perturbed answers), the built-in world included.
What cannot be computed from the benchmark at hand is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from leakatk.benchmarks.base import Benchmark
from leakatk.errors import InputError
from leakatk.metrics import privacy, utility
from leakatk.metrics.attacks import Side, attack_scores, attack_values, without_ends
from leakatk.metrics.base import Evaluation, Floats, Pairs, Passes, Scores, against
from leakatk.metrics.greedy import Greedy, native_greedy
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import TokenStats, answer_pairs, token_stats
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer

UTILITY_SETS = ("retain", "real_authors", "world_facts")
Said = tuple[str, str]  # a question and an answer to it
Pair = tuple[list[int], list[int]]  # the same as ids


@dataclass(frozen=True, slots=True)
class _Forced:
    """Every answer the numbers need, passed through the model once: its ids, and what the model thinks of them."""

    pairs: dict[Said, Pair]
    stats: dict[Said, TokenStats]

    @classmethod
    def of(cls, loaded: LoadedModel, benchmark: Benchmark) -> _Forced:
        pairs = forced_pairs(loaded, benchmark)
        return cls(pairs, dict(zip(pairs, token_stats(loaded, list(pairs.values())), strict=True)))

    def of_answers(self, prompts: Sequence[Prompt]) -> list[TokenStats]:
        return [self.stats[p.question, p.answer] for p in prompts]

    def right(self, prompts: Sequence[Prompt]) -> Floats:
        """Mean token log-probability of the right answer, the paraphrased one where there is one."""
        return utility.mean_logprob([self.stats[p.question, p.paraphrased_answer or p.answer].logprob for p in prompts])

    def wrong(self, prompts: Sequence[Prompt]) -> list[Floats]:
        """Mean token log-probability of each wrong answer, a row a prompt."""
        return [
            utility.mean_logprob([self.stats[p.question, answer].logprob for answer in p.perturbed_answers])
            for p in prompts
        ]

    def side(self, prompts: Sequence[Prompt]) -> Side:
        return Side(
            [self.pairs[p.question, p.answer] for p in prompts], self.of_answers(prompts), [p.answer for p in prompts]
        )


def forced_pairs(loaded: LoadedModel, benchmark: Benchmark) -> dict[Said, Pair]:
    """The answers that `evaluate` passes through the model, each once: true ones, and where all of a set has them wrong ones."""
    found: dict[Said, None] = {}
    for prompts in (benchmark.forget, *utility_sets(benchmark).values()):
        found |= dict.fromkeys((p.question, p.answer) for p in prompts)
        if _all_wrong(prompts):
            found |= dict.fromkeys((p.question, p.paraphrased_answer or p.answer) for p in prompts)
            found |= dict.fromkeys((p.question, answer) for p in prompts for answer in p.perturbed_answers)
    found |= dict.fromkeys((p.question, p.answer) for p in benchmark.holdout)
    pairs = answer_pairs(loaded, [question for question, _ in found], [answer for _, answer in found])
    return dict(zip(found, pairs, strict=True))


def tofu_passes(loaded: LoadedModel, benchmark: Benchmark, *, grad_norm: bool = False) -> Passes:
    """What `evaluate` computes."""
    pairs = forced_pairs(loaded, benchmark)
    backward: Pairs = ()
    if grad_norm and benchmark.holdout:
        backward = [pairs[p.question, p.answer] for p in (*benchmark.forget, *benchmark.holdout)]
        backward = without_ends(backward) if _ends(loaded) else backward
    further = (prompts for name, prompts in benchmark.sets.items() if name not in UTILITY_SETS)
    asked = (benchmark.forget, *utility_sets(benchmark).values(), *further)
    return Passes(list(pairs.values()), backward, sum(map(len, asked)))


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
    forced = _Forced.of(loaded, benchmark)
    forget = forced.of_answers(benchmark.forget)
    ends = _ends(loaded)
    words = [s.without_end() for s in forget] if ends else forget  # what is memorised, as OpenUnlearning counts it
    ratios = _truth_ratios(forced, benchmark.forget)
    texts = list(greedy(loaded, benchmark.forget))
    values: dict[str, float] = {
        "forget_prob": float(np.mean(_probability(forget))),
        "forget_rouge": _rouge(benchmark.forget, texts),
        "forget_truth": _summary(utility.truth_on_forget, ratios),
        "forget_truth_paper": _summary(utility.truth_on_forget, _truth_ratios(forced, benchmark.forget, "paper")),
        "forget_broken": privacy.broken_share(texts),
        "exact_memorization": float(np.nanmean(utility.exact_memorization([s.correct for s in words]))),
        "extraction_strength": float(np.nanmean(utility.extraction_strength([s.correct for s in words]))),
        **_utility(loaded, benchmark, greedy, forced),
        **_further_sets(loaded, benchmark, greedy),
    }
    scores: Scores = {}
    if benchmark.holdout:
        sides = (forced.side(benchmark.forget), forced.side(benchmark.holdout))
        scores = attack_scores(loaded, *sides, ends=ends, grad_norm=grad_norm)
    return against(Evaluation({**values, **attack_values(scores)}, ratios, scores), retrained)


def utility_sets(benchmark: Benchmark) -> dict[str, tuple[Prompt, ...]]:
    """The three sets of model utility (`UTILITY_SETS`). retain: TOFU's perturbed retain rows, else the held retain prompts."""
    return {
        "retain": benchmark.sets.get("retain") or benchmark.retain_held or benchmark.retain,
        "real_authors": benchmark.sets.get("real_authors", ()),
        "world_facts": benchmark.sets.get("world_facts", ()),
    }


def _utility(loaded: LoadedModel, benchmark: Benchmark, greedy: Greedy, forced: _Forced) -> dict[str, float]:
    values: dict[str, float] = {}
    for name, prompts in utility_sets(benchmark).items():
        if not prompts:
            values |= {f"{name}_{kind}": math.nan for kind in ("prob", "rouge", "truth")}
            continue
        right = _probability(forced.of_answers(prompts))
        if name != "retain" and _all_wrong(prompts):
            right = utility.choice_probability(right, [np.exp(row) for row in forced.wrong(prompts)])
        texts = list(greedy(loaded, prompts))
        values |= {
            f"{name}_prob": float(np.mean(right)),
            f"{name}_rouge": _rouge(prompts, texts),
            f"{name}_truth": _summary(utility.truth_on_utility, _truth_ratios(forced, prompts)),
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


def _ends(loaded: LoadedModel) -> bool:
    """An answer's last id is an end token."""
    return loaded.template.end_id(loaded.tokenizer) is not None


def _all_wrong(prompts: Sequence[Prompt]) -> bool:
    """Every prompt has wrong answers: truth ratios are defined."""
    return all(p.perturbed_answers for p in prompts)


def _probability(stats: Sequence[TokenStats]) -> Floats:
    return utility.probability(utility.mean_logprob([s.logprob for s in stats]))


def _truth_ratios(
    forced: _Forced, prompts: Sequence[Prompt], convention: utility.RatioConvention = "open-unlearning"
) -> Floats:
    """Truth ratios of the prompts. Empty without wrong answers."""
    if not _all_wrong(prompts):
        return np.zeros(0)
    return utility.truth_ratio(forced.right(prompts), forced.wrong(prompts), convention)


def _rouge(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    return float(np.mean(get_scorer("rouge-l").score(prompts, texts)))


def _summary(summarise: Callable[[Floats], float], ratios: Floats) -> float:
    return summarise(ratios) if ratios.size else math.nan
