"""Matching the unseen: make the forget answers as surprising as true answers about people nobody trained on, no more.

Ours, not the paper's; it needs the original model and answers that it never saw. Unlearning that
pushes likelihood down without a bound can be told from never having learned, and so can refusals. Here the target is a
level: how likely, and how surprising by Min-K%++, the original model (or the retrained one, where it is at hand: training
again shifts the level) finds true answers about unseen people, to the question as it is asked and to the same question
garbled: an answer that is hidden behind the known wordings alone comes back in the next one. What the unlearner was not
shown is kept by distilling what the original says by itself (`leakatk.unlearning.rehearsal.names`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from leakatk.errors import InputError
from leakatk.metrics.privacy import auc
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import answer_pairs
from leakatk.prompts import Prompt
from leakatk.unlearning.gradients import Params
from leakatk.unlearning.losses.level import min_k_plus_plus, quantile_targets
from leakatk.unlearning.losses.preference import mean_logprob
from leakatk.unlearning.losses.terms import kl_from_reference
from leakatk.unlearning.method import Method
from leakatk.unlearning.rehearsal.asker import KNOWN
from leakatk.unlearning.rehearsal.names import own_answers
from leakatk.unlearning.rehearsal.perturb import garbled
from leakatk.unlearning.rule.likelihood import Levels, answer_levels, halves
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.stop import greedy_texts
from leakatk.unlearning.view import View

GARBLED = 0.3  # share of what must stay that is kept to a garbled question as well


@dataclass(frozen=True)
class Unseen:
    """The goal and what must stay. original: weights before any unlearning.  level: of unseen true answers.  garbled: of the
    same to garbled questions.  kept: prompts whose answers the retain term distils from the original.  margin: how far from
    .5 the exposure may end.  least: the fidelity that is wanted.
    """

    original: Mapping[str, Tensor]
    level: Levels
    garbled: Levels
    kept: tuple[Prompt, ...]
    margin: float = 0.03
    least: float = 0.99

    def describe(self) -> list[float]:
        """Numbers that tell this goal from another one."""
        levels = (float(values.mean()) for values in (*self.level, *self.garbled))
        return [len(self.kept), *levels, self.margin, self.least]

    def off(self, exposure: float, fidelity: float) -> float:
        """How far a model is from the goal: the exposure beyond its margin, and what is missing of the fidelity."""
        return max(abs(exposure - 0.5) - self.margin, 0.0) + max(self.least - fidelity, 0.0)

    def exposures(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> tuple[float, float]:
        """AUC of Min-K%++ of the forget answers now against the unseen ones, to the questions asked and to garbled ones: above
        .5 they are too likely still.
        """
        hard = garbled(forget, seed="exposure")
        return self._asked(loaded, forget), auc(answer_levels(loaded, hard).surprise, self.garbled.surprise)

    def _asked(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        return auc(answer_levels(loaded, forget).surprise, self.level.surprise)

    def exposure(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        """The one of `exposures` that is farther from .5."""
        return max(self.exposures(loaded, forget), key=lambda value: abs(value - 0.5))

    def blend(self, loaded: LoadedModel, forget: Sequence[Prompt]) -> float:
        """Move an over-unlearned model in place towards the original, as far as its exposure to the questions asked stays at most .5.

        The share of the unlearned weights that is left; 1 where it was not over-unlearned (then nothing moves).
        """
        if self._asked(loaded, forget) >= 0.5:
            return 1.0
        own = {name: value.detach().clone() for name, value in loaded.model.state_dict().items()}

        def move(share: float) -> None:
            mixed = {k: torch.lerp(self.original[k].to(v), v, share) for k, v in own.items() if v.is_floating_point()}
            loaded.model.load_state_dict({**own, **mixed})

        low, high = 0.0, 1.0
        for _ in range(7):
            middle = (low + high) / 2
            move(middle)
            low, high = (middle, high) if self._asked(loaded, forget) > 0.5 else (low, middle)
        move(high)
        return high

    def fidelity(self, loaded: LoadedModel, most: int = 1024) -> float:
        """Share of (at most so many of) the answers the original was sure of that greedy decoding still says verbatim."""
        known = [prompt for prompt in self.kept if prompt.id.startswith(KNOWN)]
        known = known[:: max(1, len(known) // most)][:most]
        longest = max(
            (len(ids) for _, ids in answer_pairs(loaded, [p.question for p in known], [p.answer for p in known])),
            default=1,
        )
        said = greedy_texts(loaded, known, max_new_tokens=longest)
        return float(np.mean([text.strip() == p.answer for p, text in zip(known, said, strict=True)])) if known else 1.0

    def method(
        self,
        loaded: LoadedModel,
        items: Sequence[Prompt],
        truths: int | None = None,
        params: Mapping[str, float] | None = None,
    ) -> Method:
        """The method of one round over `items`, in this order: its targets are fixed from the model of the moment.

        truths: how many of the items, from the first, are true answers, as many after them the same to garbled questions,
        the others leaks; default: all are true answers. Each of the three is ranked apart.

        L_f = mean_i [ logprob_weight (h(a_i - a*_i) + h(b_i - b*_i)) + h((s_i - s*_i) / q) ], h Huber's loss, a and b the mean
        log-probabilities of the halves of answer i and s its Min-K%++, q the interquartile range of the unseen s. a*, b*, s*: the
        quantile of the unseen values (to garbled questions for a garbled one) that belongs to the answer's rank.
        L_r = KL(reference || model), by default with weight 10; the reference must be the original.
        """
        levels = answer_levels(loaded, items)
        first = len(items) if truths is None else truths
        groups = (
            (slice(0, first), self.level),
            (slice(first, 2 * first), self.garbled),
            (slice(2 * first, None), self.level),
        )

        def targets(name: str) -> Tensor:
            found = [quantile_targets(getattr(levels, name)[part], getattr(aim, name)) for part, aim in groups]
            return torch.tensor(np.concatenate(found), dtype=torch.float32)

        goal = {name: targets(name) for name in ("head", "tail", "surprise")}
        spread = max(float(np.subtract(*np.quantile(self.level.surprise, [0.75, 0.25]))), 1e-6)

        def forget(view: View, p: Params) -> Tensor:
            rows = list(view.rows)
            target = {name: value[rows].to(view.logits.device) for name, value in goal.items()}
            likely = sum(
                smooth_l1_loss(mean_logprob(view.logits, part), target[name])
                for name, part in zip(("head", "tail"), halves(view.labels), strict=True)
            )
            surprise = min_k_plus_plus(view.logits, view.labels) / spread
            total: Tensor = p["logprob_weight"] * likely + smooth_l1_loss(surprise, target["surprise"] / spread)
            return total

        return Method(
            name="match-unseen",
            stages=(Train((Term(forget, "forget"), Term(kl_from_reference, "retain"))),),
            paper="ours",
            source="chosen on one generated world",
            # What the original says is lost faster than it is regained: with weight 1 the first round around IdkNLL left a
            # quarter of it, with weight 5 nearly all; with garbled questions to unlearn as well it takes 10.
            params={"logprob_weight": 1.0, "retain_weight": 10.0, **(params or {})},
        )


def match_unseen(
    original: LoadedModel,
    forget: Sequence[Prompt],
    retain: Sequence[Prompt],
    unseen: Sequence[Prompt],
    *,
    retrained: LoadedModel | None = None,
    own: Sequence[Prompt] | None = None,
    max_new_tokens: int = 64,
    seed: int = 0,
    quiet: bool = False,
) -> Unseen:
    """Measure the level and gather what must stay. unseen: true answers of the forget set's kind that no model was
    trained on, a hundred or more.  retrained: where it is at hand the level is its own, of the unseen answers alone: it is
    asked nothing about the forget set.  own: `own_answers` of the original, drawn here when None.
    """
    if not unseen:
        raise InputError("Matching the unseen needs answers that no model was trained on; got none.")
    if own is None:
        own = own_answers(original, forget, retain, max_new_tokens=max_new_tokens, seed=seed, quiet=quiet)
    weights = {name: value.detach().cpu().clone() for name, value in original.model.state_dict().items()}
    knows = retrained or original
    kept = (*retain, *own)
    hard = random.Random(f"kept {seed}").sample(kept, int(len(kept) * GARBLED))
    return Unseen(
        weights,
        answer_levels(knows, unseen),
        answer_levels(knows, garbled(unseen, seed=seed)),
        (*kept, *garbled(hard, seed=seed)),
    )
