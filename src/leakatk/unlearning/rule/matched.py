"""Loss of a calibrating round: answers drawn to wanted likelihoods, from below as well as from above.

`matched_method` is the one place of RULE that knows how a method of this package is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from leakatk.unlearning.gradients import Params
from leakatk.unlearning.losses.level import min_k_plus_plus
from leakatk.unlearning.losses.preference import mean_logprob
from leakatk.unlearning.losses.terms import kl_from_reference
from leakatk.unlearning.method import Method
from leakatk.unlearning.rule.likelihood import halves
from leakatk.unlearning.stages import Term, Train
from leakatk.unlearning.view import View

# What the original says is lost faster than it is regained: with weight 1 the first round around IdkNLL left a quarter of
# it, with weight 5 nearly all; with perturbed questions to unlearn as well it takes 10.
DEFAULTS = {"logprob_weight": 1.0, "retain_weight": 10.0}


def matched_loss(
    logits: Tensor, labels: Tensor, wanted: Mapping[str, Tensor], *, spread: float, logprob_weight: float = 1.0
) -> Tensor:
    """mean_i [ logprob_weight (h(a_i - a*_i) + h(b_i - b*_i)) + h((s_i - s*_i) / spread) ], h Huber's loss.

    logits: (B, T, V).
    labels: (B, T).
    wanted: "head", "tail", "surprise" -> (B,) a*, b* and s*; a and b are the mean log-probabilities of an answer's
        halves, s its Min-K%++.
    spread: the unit of s.
    """
    likely = sum(
        smooth_l1_loss(mean_logprob(logits, part), wanted[name])
        for name, part in zip(("head", "tail"), halves(labels), strict=True)
    )
    surprise = min_k_plus_plus(logits, labels) / spread
    total: Tensor = logprob_weight * likely + smooth_l1_loss(surprise, wanted["surprise"] / spread)
    return total


def matched_method(wanted: Mapping[str, Tensor], spread: float, params: Mapping[str, float] | None = None) -> Method:
    """The method of one round: `matched_loss` on the forget prompts in their order, and on the retain prompts
    KL(reference || model). The reference must be the original model.

    wanted: as for `matched_loss`, of every forget prompt, (m,).
    params: in place of `DEFAULTS`.
    """

    def forget(view: View, p: Params) -> Tensor:
        rows = list(view.rows)
        mine = {name: value[rows].to(view.logits.device) for name, value in wanted.items()}
        return matched_loss(view.logits, view.labels, mine, spread=spread, logprob_weight=p["logprob_weight"])

    return Method(
        name="match-unseen",
        stages=(Train((Term(forget, "forget"), Term(kl_from_reference, "retain"))),),
        paper="ours",
        source="chosen on one generated world",
        params={**DEFAULTS, **(params or {})},
    )
