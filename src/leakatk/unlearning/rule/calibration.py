"""Calibrating rounds: forget answers as surprising as true answers about people nobody trained on, and no more.

Ours, not the paper's; it needs the original model and answers that it never saw. Unlearning that pushes likelihood down
without a bound can be told from never having learned, and so can refusals. Here the target is a level: how likely, and
how surprising by Min-K%++, the original model finds true answers about unseen people. Where the retrained model is at
hand its level is taken: training again shifts it. The level is measured for the question as it is asked and for the same
question perturbed: an answer that is hidden behind the known wordings alone comes back in the next one.

What the unlearner was not shown is kept by rehearsal: what the original says by itself is distilled
(`leakatk.unlearning.rehearsal.own`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.metrics.privacy import auc
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs, token_stats
from leakatk.models.weights import put, weights_of
from leakatk.prompts import Prompt
from leakatk.unlearning.losses.level import quantile_targets
from leakatk.unlearning.methods import Method
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.budget import Budget
from leakatk.unlearning.rehearsal.own import rehearsal_prompts
from leakatk.unlearning.rehearsal.perturb import perturbed
from leakatk.unlearning.rehearsal.subjects import Forms
from leakatk.unlearning.rule.detect import wordings
from leakatk.unlearning.rule.likelihood import Likelihoods, answer_likelihoods
from leakatk.unlearning.rule.matched import matched_method
from leakatk.unlearning.rule.strategy import RoundStart, Training, with_leaks
from leakatk.unlearning.stop import greedy_texts

OWN = "own/"  # how the ids begin of what the original said by itself
FEW = 32  # answers that it is sure of: with fewer, and others, tokens are compared
AGREED, AGREEING = 96, 0.95  # own answers whose tokens are compared, and the share that must stay the most likely ones
PERTURBED_SHARE = 0.3  # share of what must stay that is kept to a perturbed question as well


@dataclass(frozen=True)
class UnseenTarget:
    """The level that forget answers are drawn to, and what must stay."""

    original: Mapping[str, Tensor]
    """Weights before any unlearning."""
    asked: Likelihoods
    """Of unseen true answers, to their questions."""
    perturbed: Likelihoods
    """Of the same, to perturbed questions."""
    kept: tuple[Prompt, ...]
    """Prompts whose answers the retain term distils from the original."""
    margin: float = 0.03
    """How far from .5 the membership AUC may end."""
    least: float = 0.99
    """The replay accuracy that is wanted."""
    forms: Forms | None = None
    """Tells what questions without a source ask about; None: those perturbed together do."""

    def describe(self) -> list[float]:
        """Numbers that tell this target from another one."""
        levels = (float(values.mean()) for values in (*self.asked, *self.perturbed))
        return [len(self.kept), *levels, self.margin, self.least]

    def strategy(self) -> Calibrate:
        return Calibrate(self)

    def missing(self, membership_auc: float, replay_accuracy: float) -> float:
        """How far a model is from the target: the AUC beyond its margin, and what the replay accuracy lacks."""
        least = self.least if self.memorised else AGREEING
        return max(abs(membership_auc - 0.5) - self.margin, 0.0) + max(least - replay_accuracy, 0.0)

    def membership_aucs(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> tuple[float, float]:
        """AUC of Min-K%++ of the forget answers now against the unseen ones, to the questions asked and to perturbed ones.

        Above .5 the forget answers are too likely still.
        """
        hard = perturbed(forget, seed="exposure", forms=self.forms)  # the seed's word is that of the first version
        return self._asked_auc(loaded, forget), auc(answer_likelihoods(loaded, hard).surprise, self.perturbed.surprise)

    def _asked_auc(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        return auc(answer_likelihoods(loaded, forget).surprise, self.asked.surprise)

    def membership_auc(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        """The one of `membership_aucs` that is farther from .5."""
        return max(self.membership_aucs(loaded, forget), key=lambda value: abs(value - 0.5))

    def blend(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        """Move an over-unlearned model in place towards the original, while its AUC to the questions asked is at most .5.

        Returns the share of the unlearned weights that is left: 1 where it was not over-unlearned (then nothing moves).
        """
        if self._asked_auc(loaded, forget) >= 0.5:
            return 1.0
        start = weights_of(loaded.model, device=None)

        def move(share: float) -> None:
            mixed = {k: torch.lerp(self.original[k].to(v), v, share) for k, v in start.items() if v.is_floating_point()}
            put(loaded.model, {**start, **mixed})

        low, high = 0.0, 1.0
        for _ in range(7):
            middle = (low + high) / 2
            move(middle)
            low, high = (middle, high) if self._asked_auc(loaded, forget) > 0.5 else (low, middle)
        move(high)
        return high

    @property
    def memorised(self) -> bool:
        """Whether the original was sure of enough answers that they can be asked for verbatim.

        A model that was trained on little is; one that speaks a language is sure of few whole answers.
        """
        return sum(prompt.id.startswith(KNOWN) for prompt in self.kept) >= min(FEW, len(self._own))

    @property
    def _own(self) -> list[Prompt]:
        """What the original said by itself, each once."""
        return [prompt for prompt in self.kept if prompt.id.startswith(OWN)]

    def replay_says(self) -> str:
        """What the replay accuracy is of, for people."""
        known = sum(prompt.id.startswith(KNOWN) for prompt in self.kept)
        if not self._own:
            return "Replay accuracy: nothing, since the original said nothing by itself."
        if self.memorised:
            return f"Replay accuracy: {known:,} answers that the original is sure of, verbatim; wanted {self.least:g}."
        return (
            f"Replay accuracy: the original is sure of {known} of its {len(self._own):,} answers, so their tokens are compared "
            f"(still the most likely ones); wanted {AGREEING:g}."
        )

    def replay_accuracy(self, loaded: LoadedModel, most: int = 1024) -> float:
        """How much of what the original said by itself the model still says.

        Where the original is sure of `FEW` answers: the share of (at most `most` of) these that greedy decoding still says
        verbatim. Otherwise the share of the tokens of (at most `AGREED` of) all its own answers that are still the most
        likely ones: `memorised` says which. 1 where it said nothing.
        """
        if not self.memorised:
            own = self._own[:: max(1, len(self._own) // AGREED)][:AGREED]
            pairs = answer_pairs(loaded, [p.question for p in own], [p.answer for p in own])
            return float(np.concatenate([one.without_end().correct for one in token_stats(loaded, pairs)]).mean())
        known = [prompt for prompt in self.kept if prompt.id.startswith(KNOWN)]
        known = known[:: max(1, len(known) // most)][:most]
        longest = max(
            (len(ids) for _, ids in answer_pairs(loaded, [p.question for p in known], [p.answer for p in known])),
            default=1,
        )
        said = greedy_texts(loaded, known, max_new_tokens=longest)
        return float(np.mean([text.strip() == p.answer for p, text in zip(known, said, strict=True)])) if known else 1.0

    @property
    def spread(self) -> float:
        """The interquartile range of the unseen answers' Min-K%++: its unit in the loss."""
        return max(float(np.subtract(*np.quantile(self.asked.surprise, [0.75, 0.25]))), 1e-6)

    def wanted(self, loaded: LoadedModel, items: Sequence[Prompt], truths: int | None = None) -> dict[str, Tensor]:
        """ "head", "tail", "surprise" -> (m,) what a round draws each item to, fixed from the model of the moment.

        truths: how many of the items, from the first, are true answers, as many after them the same to perturbed
            questions, the others leaks; default: all are true answers.

        Each of the three groups is ranked apart: an item's target is the quantile of the unseen values (to perturbed
        questions for a perturbed one) that belongs to its rank.
        """
        now = answer_likelihoods(loaded, items)
        first = len(items) if truths is None else truths
        groups = (
            (slice(0, first), self.asked),
            (slice(first, 2 * first), self.perturbed),
            (slice(2 * first, None), self.asked),
        )

        def targets(name: str) -> Tensor:
            found = [quantile_targets(getattr(now, name)[part], getattr(aim, name)) for part, aim in groups]
            return torch.tensor(np.concatenate(found), dtype=torch.float32)

        return {name: targets(name) for name in ("head", "tail", "surprise")}

    def method(
        self,
        loaded: LoadedModel,
        items: Sequence[Prompt],
        truths: int | None = None,
        params: Mapping[str, float] | None = None,
    ) -> Method:
        """The method of one round over `items`, in this order; `wanted` says what it draws them to."""
        return matched_method(self.wanted(loaded, items, truths), self.spread, params)


@dataclass(frozen=True)
class Calibrate:
    """Rounds that draw the forget answers to the level of unseen ones, from the blend of the model given with the original.

    D_f is asked in all wordings of the detection and in the same perturbed, drawn anew each round; then come the leaks.
    """

    target: UnseenTarget

    @property
    def mends(self) -> bool:
        return True  # the retain term draws back to the original

    def identity(self) -> dict[str, Any]:
        return {"matching": self.target.describe()}

    def begin(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> None:
        self.target.blend(loaded, forget)

    def measure(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> dict[str, float]:
        return {
            "membership_auc": self.target.membership_auc(loaded, forget),
            "replay_accuracy": self.target.replay_accuracy(loaded),
        }

    def missing(self, metrics: Mapping[str, float]) -> float:
        return self.target.missing(**metrics)

    def training(self, start: RoundStart) -> Training:
        truths = [p for prompt in start.forget for p in wordings(prompt, start.options.wordings)]
        hard = perturbed(truths, seed=f"{start.seed} {start.number}", forms=self.target.forms)
        items, weights = with_leaks([*truths, *hard], start)
        method = self.target.method(start.loaded, items, len(truths))
        return Training(items, self.target.kept, method, weights, self.target.original)


def match_unseen(
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    unseen: Sequence[Prompt],
    *,
    retrained: LoadedModel | None = None,
    rehearsal: Sequence[Prompt] | None = None,
    max_new_tokens: int = 64,
    seed: int = 0,
    quiet: bool = False,
    budget: Budget | None = None,
) -> UnseenTarget:
    """Measure the level and gather what must stay.

    original: the model before any unlearning.
    unseen: true answers of the forget set's kind that no model was trained on, a hundred or more.
    retrained: where it is at hand the level is its own, of the unseen answers alone: it is asked nothing about `forget`.
    rehearsal: what the original says by itself (`rehearsal_prompts`), asked for here when None.
    max_new_tokens: the longest answer of the rehearsal.
    budget: what the rehearsal may cost (`budget.training_tokens` says what training does); None: without a bound.

    Raises InputError without unseen answers.
    """
    if not unseen:
        raise InputError(
            "Matching the unseen needs answers that no model was trained on; got none. Give some, best 100."
        )
    if rehearsal is None:
        rehearsal = rehearsal_prompts(
            original, forget, retain, max_new_tokens=max_new_tokens, seed=seed, quiet=quiet, budget=budget
        )
    weights = weights_of(original.model)
    knows = retrained or original
    forms = Forms([text for p in (*forget, *retain, *unseen) for text in (p.question, *p.paraphrases)])
    kept = (*retain, *rehearsal)
    hard = random.Random(f"kept {seed}").sample(kept, int(len(kept) * PERTURBED_SHARE))
    return UnseenTarget(
        weights,
        answer_likelihoods(knows, unseen),
        answer_likelihoods(knows, perturbed(unseen, seed=seed, forms=forms)),
        (*kept, *perturbed(hard, seed=seed, forms=forms)),
        forms=forms,
    )
