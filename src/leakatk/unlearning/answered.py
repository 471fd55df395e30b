"""Answered prompts: those of the forget set that the model still answers, asked before each round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from leakatk.arrays import Bools
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers
from leakatk.unlearning.losses.terms import Params
from leakatk.unlearning.view import View, each_answer

if TYPE_CHECKING:
    from leakatk.unlearning.work import Work


def answered(work: Work) -> Bools:
    """(n,) whether the greedy answer to each forget prompt has a score of `answered_at` or more; False where it has none.

    By the scorer that suits the prompts; answers of at most `answer_tokens` tokens.
    """
    texts = greedy_texts(work.loaded, work.forget, work.params["answer_tokens"])
    scores = get_scorer(default_scorers(work.forget)[0]).score(list(work.forget), texts)
    found: Bools = scores >= work.params["answered_at"]
    return found


def still_answered(work: Work) -> dict[str, Tensor]:
    """ "share" (n,): 1 for a forget prompt that is still answered and 0 for another, divided by their mean; a note counts them."""
    there = torch.from_numpy(answered(work)).float()
    work.notes.append(f"{int(there.sum())} of {len(there)} forget questions are still answered and trained on.")
    return {"share": there / there.mean().clamp_min(1 / len(there))}


def none_answered(work: Work, rounds: int) -> bool:
    """Whether no forget prompt is answered any more, or `rounds` of them are done."""
    return rounds >= work.params["rounds"] or not bool(answered(work).any())


@each_answer
def answered_nll(view: View, p: Params) -> Tensor:
    """-E<log p(y_t)> over the prompts that are still answered."""
    share: Tensor = p["share"].to(view.labels.device)[list(view.rows)]
    return -(share * view.mean_logprob).mean()
