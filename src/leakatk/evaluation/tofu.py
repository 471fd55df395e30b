"""TOFU-style evaluation of one model on a benchmark: every number of the table beside leak@k.

Works on any `Benchmark` with the columns TOFU has (paraphrased and perturbed answers), the built-in world included.
What cannot be computed from the benchmark at hand is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from leakatk import privacy, utility
from leakatk.benchmarks.base import Benchmark
from leakatk.data import Prompt
from leakatk.errors import InputError
from leakatk.evaluation.greedy import Greedy, native_greedy
from leakatk.forcing import TokenStats, answer_pairs, gradient_norms, token_stats
from leakatk.models import LoadedModel
from leakatk.scorers.base import get_scorer

Floats = npt.NDArray[np.float64]
ATTACKS = ("loss", "zlib", "min-k", "min-k++", "reference", "grad-norm")


@dataclass(frozen=True)
class Evaluation:
    """Numbers of one model. values: name -> number, NaN where undefined.  ratios: truth ratios of the forget prompts.

    scores: attack -> (forget scores, holdout scores), low for a likely member.
    """

    values: Mapping[str, float]
    ratios: Floats
    scores: Mapping[str, tuple[Floats, Floats]]


def evaluate(
    loaded: LoadedModel,
    benchmark: Benchmark,
    *,
    greedy: Greedy = native_greedy,
    retrained: Evaluation | None = None,
    reference: LoadedModel | None = None,
    with_gradients: bool = False,
) -> Evaluation:
    """Probability, ROUGE, truth ratio, model utility, forget quality, memorisation, attacks and PrivLeak.

    greedy: gives the greedy answer of each prompt.  retrained: the evaluation of the model trained without the forget
    data, for forget quality, PrivLeak and the over-unlearning share.  reference: a model that saw neither forget nor
    holdout texts, for the reference attack.
    """
    if not benchmark.forget:
        raise InputError(f"Benchmark {benchmark.name} has no forget prompts; there is nothing to evaluate.")
    forget = _stats(loaded, benchmark.forget, [p.answer for p in benchmark.forget])
    ratios = _truth_ratios(loaded, benchmark.forget)
    texts = list(greedy(loaded, benchmark.forget))
    values: dict[str, float] = {
        "forget_prob": float(np.mean(_probability(forget))),
        "forget_rouge": _rouge(benchmark.forget, texts),
        "forget_truth": _summary(utility.truth_on_forget, ratios),
        "forget_broken": privacy.broken_share(texts),
        "exact_memorization": float(np.nanmean(utility.exact_memorization([s.correct for s in forget]))),
        "extraction_strength": float(np.nanmean(utility.extraction_strength([s.correct for s in forget]))),
        **_utility(loaded, benchmark, greedy),
    }
    scores: dict[str, tuple[Floats, Floats]] = {}
    if benchmark.holdout:
        held = _stats(loaded, benchmark.holdout, [p.answer for p in benchmark.holdout])
        scores = _attacks(loaded, benchmark, forget, held, reference, with_gradients)
    for attack in ATTACKS:
        pair = scores.get(attack)
        values[f"auc_{attack}"] = privacy.auc(*pair) if pair else math.nan
        values[f"tpr_{attack}"] = privacy.tpr_at_fpr(*pair) if pair else math.nan
    return against(Evaluation(values=values, ratios=ratios, scores=scores), retrained)


def against(evaluation: Evaluation, retrained: Evaluation | None) -> Evaluation:
    """The same evaluation with what needs the retrained model: forget_quality, privleak, over_unlearned.

    Without one, PrivLeak is taken against an AUC of .5 and the others are NaN. over_unlearned is the share of
    `privacy.over_unlearning` on Min-K%++; above .5 the model is flagged.
    """
    found = dict.fromkeys(("forget_quality", "privleak", "over_unlearned"), math.nan)
    if evaluation.scores:
        base = 0.5 if retrained is None else retrained.values["auc_min-k"]
        found["privleak"] = privacy.privleak(evaluation.values["auc_min-k"], base)
    if retrained is not None:
        if evaluation.ratios.size and retrained.ratios.size:
            found["forget_quality"] = utility.forget_quality(evaluation.ratios, retrained.ratios)
        if evaluation.scores and retrained.scores:
            beyond = privacy.over_unlearning(evaluation.scores["min-k++"][0], retrained.scores["min-k++"][0])
            found["over_unlearned"] = beyond.share
    return replace(evaluation, values={**evaluation.values, **found})


def utility_sets(benchmark: Benchmark) -> dict[str, tuple[Prompt, ...]]:
    """The three sets of model utility. retain: TOFU's perturbed retain rows, else the held retain prompts."""
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


def _attacks(
    loaded: LoadedModel,
    benchmark: Benchmark,
    forget: Sequence[TokenStats],
    held: Sequence[TokenStats],
    reference: LoadedModel | None,
    with_gradients: bool,
) -> dict[str, tuple[Floats, Floats]]:
    scores: dict[str, list[Floats]] = {name: [] for name in ATTACKS}
    for prompts, stats in ((benchmark.forget, forget), (benchmark.holdout, held)):
        steps, answers = [s.logprob for s in stats], [p.answer for p in prompts]
        scores["loss"].append(privacy.loss_scores(steps))
        scores["zlib"].append(privacy.zlib_scores(steps, answers))
        scores["min-k"].append(privacy.min_k_scores(steps))
        deviations = [s.deviation for s in stats]
        scores["min-k++"].append(privacy.min_k_plus_plus_scores(steps, [s.mean for s in stats], deviations))
        if reference is not None:
            other = [s.logprob for s in _stats(reference, prompts, answers)]
            scores["reference"].append(privacy.reference_scores(steps, other))
        if with_gradients:
            pairs = answer_pairs(loaded, [p.text for p in prompts], answers)
            scores["grad-norm"].append(gradient_norms(loaded, pairs))
    return {name: (pair[0], pair[1]) for name, pair in scores.items() if pair}


def _stats(loaded: LoadedModel, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[TokenStats]:
    return token_stats(loaded, answer_pairs(loaded, [p.text for p in prompts], answers))


def _probability(stats: Sequence[TokenStats]) -> Floats:
    return utility.probability(utility.mean_logprob([s.logprob for s in stats]))


def _wrong(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[Floats]:
    """Mean token log-probability of each wrong answer, a row a prompt."""
    flat = [(p, answer) for p in prompts for answer in p.perturbed_answers]
    means = iter(utility.mean_logprob([s.logprob for s in _stats(loaded, [p for p, _ in flat], [a for _, a in flat])]))
    return [np.array([next(means) for _ in p.perturbed_answers]) for p in prompts]


def _truth_ratios(loaded: LoadedModel, prompts: Sequence[Prompt]) -> Floats:
    """Truth ratios; the right answer is the paraphrased one where there is one. Empty without wrong answers."""
    if not all(p.perturbed_answers for p in prompts):
        return np.zeros(0)
    right = _stats(loaded, prompts, [p.paraphrased_answer or p.answer for p in prompts])
    return utility.truth_ratio(utility.mean_logprob([s.logprob for s in right]), _wrong(loaded, prompts))


def _rouge(prompts: Sequence[Prompt], texts: Sequence[str]) -> float:
    return float(np.mean(get_scorer("rouge-l").score(prompts, texts)))


def _summary(summarise: Callable[[Floats], float], ratios: Floats) -> float:
    return summarise(ratios) if ratios.size else math.nan
