"""Accuracy: is the right answer likelier than every wrong one, and does a greedy answer say the facts?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.metrics.base import Evidence
from leakatk.metrics.checks import Floats, mean
from leakatk.metrics.pieces import greedy_answers, right_stats, wrong_stats
from leakatk.prompts import Prompt
from leakatk.scorers.base import get_scorer


def likeliest(evidence: Evidence, prompts: Sequence[Prompt]) -> Floats:
    """(m,) 1 where the right answer has a higher mean token log-probability than every wrong one, else 0.

    The right answer is in the wording of the wrong ones where there is one. NaN for a prompt without wrong answers.
    """
    right = [mean(one.logprob) for one in right_stats(evidence, prompts)]
    wrong = [[mean(one.logprob) for one in row] for row in wrong_stats(evidence, prompts)]
    return np.array([float(own > max(row)) if row else np.nan for own, row in zip(right, wrong, strict=True)])


def says(evidence: Evidence, prompts: Sequence[Prompt]) -> Floats:
    """(m,) 1 where the greedy answer has every fact of the prompt, else 0: the whole answer where a prompt lists no facts."""
    return get_scorer("fact").score(prompts, greedy_answers(evidence, prompts))
