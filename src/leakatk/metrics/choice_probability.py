"""Multiple choice by log-probability: which option does the model find most likely?"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from leakatk.prompts import Prompt
from leakatk.scorers.base import FloatArray
from leakatk.scorers.options import read_options

if TYPE_CHECKING:
    from leakatk.models.loaded import LoadedModel


def choice_probability(model: LoadedModel, prompts: Sequence[Prompt]) -> tuple[FloatArray, FloatArray]:
    """(probability of the right option among the options, 1 where it is the most probable one else 0), each (m,).

    Letters for lettered prompts, whole option texts (summed log-probability) otherwise. NaN without known options.
    """
    from leakatk.sampling.decoding import Decoding
    from leakatk.sampling.teacher_forcing import token_logprobs

    probability, correct = np.full(len(prompts), np.nan), np.full(len(prompts), np.nan)
    pairs, owner = option_pairs(model, prompts)
    longest = max((len(answer) for _, answer in pairs), default=1)
    logp = np.array([steps.sum() for steps in token_logprobs(model, pairs, Decoding(max_new_tokens=longest))])
    for i, prompt in enumerate(prompts):
        _, right, _ = read_options(prompt)
        if right is not None:
            mine = logp[np.asarray(owner) == i]
            weights = np.exp(mine - mine.max())
            probability[i] = weights[right] / weights.sum()
            correct[i] = mine[right] > np.delete(mine, right).max()
    return probability, correct


def option_pairs(model: LoadedModel, prompts: Sequence[Prompt]) -> tuple[list[tuple[list[int], list[int]]], list[int]]:
    """(prompt ids, option ids) of every option of the prompts whose right option is known, and the prompt each belongs to."""
    tokenizer, template = model.tokenizer, model.template
    pairs, owner = [], []
    for i, prompt in enumerate(prompts):
        options, right, lettered = read_options(prompt)
        if right is not None:
            said = ascii_uppercase[: len(options)] if lettered else options
            seams = [template.pair(tokenizer, prompt.question, text, end=False) for text in said]
            pairs += [(seam.prompt, seam.answer) for seam in seams]
            owner += [i] * len(options)
    return pairs, owner
