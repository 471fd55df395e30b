"""Checks while a model unlearns: greedy answers on the forget and the retain prompts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.arrays import Floats
from leakatk.metrics.memorisation import Memorised, memorised
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts as greedy_texts
from leakatk.scorers.base import Scorer, get_scorer
from leakatk.unlearning.settings import Check, OnCheck, stop_when


def greedy_scores(
    loaded: LoadedModel, prompts: Sequence[Prompt], scorer: Scorer | str, *, max_new_tokens: int
) -> Floats:
    """Score of every greedy answer, shape (m,); NaN where the scorer is undefined."""
    judge = get_scorer(scorer) if isinstance(scorer, str) else scorer
    return judge.score(list(prompts), greedy_texts(loaded, prompts, max_new_tokens=max_new_tokens))


def greedy_stop(
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    scorer: Scorer | str,
    *,
    forget_at_most: float = 0.0,
    utility_at_least: float = 0.95,
    max_new_tokens: int = 64,
    retain_sample: int = 64,
    utility_scorer: Scorer | str | None = None,
) -> OnCheck:
    """Stop at the first check where greedy answers forget and still know.

    "forget" is the mean greedy score on `forget`, "utility" that on at most `retain_sample` evenly spaced retain
    prompts. Both are greedy numbers on purpose: this is the rule that leak@k shows to be too weak.
    """
    kept = list(retain)[:: max(1, len(retain) // retain_sample)][:retain_sample]

    def measure(loaded: LoadedModel) -> dict[str, float]:
        known = greedy_scores(loaded, kept, utility_scorer or scorer, max_new_tokens=max_new_tokens)
        left = greedy_scores(loaded, forget, scorer, max_new_tokens=max_new_tokens)
        return {"forget": float(np.nanmean(left)), "utility": float(np.nanmean(known))}

    return stop_when(measure, forget_at_most=forget_at_most, utility_at_least=utility_at_least)


def memorised_stop(forget: Sequence[Prompt] | Sequence[str], unseen: Memorised, *, ngram: int = 10) -> OnCheck:
    """Stop at the first check where the forget set is extracted no better than unseen texts (Jang et al. 2022).

    unseen: `leakatk.metrics.memorisation.memorised` of texts that were never trained on, on the model before unlearning
    and with the same ngram. Both numbers must be at or below it.
    """

    def check(loaded: LoadedModel, step: int) -> Check:
        found = memorised(loaded, forget, ngram=ngram)
        met = found.at_most(unseen)
        numbers = {
            "extraction_likelihood": found.extraction_likelihood,
            "memorization_accuracy": found.memorization_accuracy,
        }
        return Check(
            numbers, met, f"EL_{ngram} and MA of the forget set are at most those of unseen texts" if met else ""
        )

    return check
