"""Checks while a model unlearns: greedy answers on the forget and the retain prompts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from leakatk.arrays import Floats
from leakatk.metrics.memorisation import Memorised, memorised
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts as greedy_texts
from leakatk.scorers.base import Scorer, get_scorer
from leakatk.unlearning.settings import Check, OnCheck


def greedy_scores(
    loaded: LoadedModel, prompts: Sequence[Prompt], scorer: Scorer | str, *, max_new_tokens: int
) -> Floats:
    """Score of every greedy answer, shape (m,); NaN where the scorer is undefined."""
    judge = get_scorer(scorer) if isinstance(scorer, str) else scorer
    return judge.score(list(prompts), greedy_texts(loaded, prompts, max_new_tokens=max_new_tokens))


# What a check costs, in trained tokens: an answer's token (a pass for it alone) and a prompt's (no backward pass).
ANSWERED, READ = 2.0, 1 / 3
FIRST = 4  # prompts of either set that every check asks first


@dataclass(frozen=True)
class GreedyStop:
    """Check that stops where greedy answers forget and still know: `greedy_stop`.

    Called, it asks every prompt. `within` asks a few of both sets first and more only while these leave the rule open:
    scores lie between 0 and 1, so a few remembered answers can be proof that the mean over all is too high.
    """

    forget: Sequence[Prompt]
    retain: Sequence[Prompt]
    scorer: Scorer | str
    utility_scorer: Scorer | str
    forget_at_most: float
    utility_at_least: float
    max_new_tokens: int

    def __call__(self, loaded: LoadedModel, step: int) -> Check:
        known = greedy_scores(loaded, self.retain, self.utility_scorer, max_new_tokens=self.max_new_tokens)
        left = greedy_scores(loaded, self.forget, self.scorer, max_new_tokens=self.max_new_tokens)
        return self._found({"forget": float(np.nanmean(left)), "utility": float(np.nanmean(known))})

    def _found(self, metrics: dict[str, float]) -> Check:
        met = metrics["forget"] <= self.forget_at_most and metrics["utility"] >= self.utility_at_least
        reason = f"forget <= {self.forget_at_most:g} and utility >= {self.utility_at_least:g}"
        return Check(metrics, met, reason if met else "")

    @property
    def whole_work(self) -> float:
        return ANSWERED * self.max_new_tokens * (len(self.forget) + len(self.retain))

    def within(self, loaded: LoadedModel, step: int, work: float, *, floor: float = 0.0) -> Check:
        """See `Thrifty`."""
        asking = _Asking(loaded, self.max_new_tokens, work)
        forget = _Asked(self.forget, self.scorer)
        retain = _Asked(self.retain, self.utility_scorer)
        if asking.more(forget, FIRST) and asking.more(retain, FIRST):
            while not forget.done and forget.least <= self.forget_at_most:
                if not asking.more(forget, len(forget.scores)):  # twice as many as before
                    break
            open_still = forget.done and forget.mean <= self.forget_at_most and retain.most >= self.utility_at_least
            if open_still or retain.mean < floor:
                asking.more(retain, len(self.retain))
        metrics = {"forget": forget.mean, "utility": retain.mean, "forget_asked": len(forget.scores)}
        metrics |= {"retain_asked": len(retain.scores), "work": asking.spent}
        metrics["left_out"] = len(self.forget) + len(self.retain) - metrics["forget_asked"] - metrics["retain_asked"]
        return Check(metrics, partial=not retain.done) if metrics["left_out"] else self._found(metrics)


@dataclass
class _Asking:
    """Greedy answers of one model, within so much work."""

    loaded: LoadedModel
    max_new_tokens: int
    work: float
    spent: float = 0.0
    answers: int = 0

    def more(self, asked: _Asked, count: int) -> bool:
        """Ask so many more prompts of a set, if that is affordable; whether it was."""
        prompts = asked.left[:count]
        # An answer costs what answers of this check cost so far; the first ones may be as long as answers can be.
        each = self.spent / self.answers if self.answers else ANSWERED * self.max_new_tokens
        if not prompts or self.spent + each * len(prompts) > self.work:
            return not prompts
        texts = greedy_texts(self.loaded, prompts, max_new_tokens=self.max_new_tokens)
        for prompt, text in zip(prompts, texts, strict=True):
            tokenizer, template = self.loaded.tokenizer, self.loaded.template
            answer = 1 + len(tokenizer(text, add_special_tokens=False)["input_ids"])
            self.spent += READ * len(template.prompt_ids(tokenizer, prompt.question))
            self.spent += ANSWERED * min(answer, self.max_new_tokens)
        self.answers += len(prompts)
        judge = get_scorer(asked.scorer) if isinstance(asked.scorer, str) else asked.scorer
        asked.scores += judge.score(prompts, texts).tolist()
        return True


@dataclass
class _Asked:
    """A set of prompts, evenly spaced ones first, and the scores of those that were asked."""

    prompts: Sequence[Prompt]
    scorer: Scorer | str
    scores: list[float] = field(default_factory=list)

    @property
    def left(self) -> list[Prompt]:
        count = min(FIRST, len(self.prompts))
        first = [i * len(self.prompts) // count for i in range(count)]
        order = [*first, *(i for i in range(len(self.prompts)) if i not in set(first))]
        return [self.prompts[i] for i in order[len(self.scores) :]]

    @property
    def done(self) -> bool:
        return len(self.scores) == len(self.prompts)

    @property
    def mean(self) -> float:
        """Over the scores that are defined; NaN without any."""
        return float(np.nanmean(self.scores)) if np.isfinite(self.scores).any() else math.nan

    @property
    def least(self) -> float:
        """What the mean over all is at least."""
        return float(np.nansum(self.scores)) / max(1, len(self.prompts))

    @property
    def most(self) -> float:
        """What it is at most."""
        return 1.0 - float(np.nansum(1.0 - np.array(self.scores))) / max(1, len(self.prompts))


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
) -> GreedyStop:
    """Stop at the first check where greedy answers forget and still know.

    "forget" is the mean greedy score on `forget`, "utility" that on at most `retain_sample` evenly spaced retain
    prompts. Both are greedy numbers on purpose: this is the rule that leak@k shows to be too weak.
    In `unlearn` a check asks fewer prompts while these settle the rule, so that checks take at most a fifth of a run.
    """
    kept = list(retain)[:: max(1, len(retain) // retain_sample)][:retain_sample]
    return GreedyStop(
        list(forget), kept, scorer, utility_scorer or scorer, forget_at_most, utility_at_least, max_new_tokens
    )


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
