"""Multiple choice by log-probability: which option does the model find most likely?"""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_uppercase
from typing import TYPE_CHECKING

import numpy as np

from leakatk.data import Prompt
from leakatk.scorers.base import FloatArray
from leakatk.scorers.options import read_options

if TYPE_CHECKING:
    from leakatk.models import LoadedModel


def choice_probability(model: LoadedModel, prompts: Sequence[Prompt]) -> tuple[FloatArray, FloatArray]:
    """(probability of the right option among the options, 1 where it is the most probable one else 0), each (m,).

    Letters for lettered prompts, whole option texts (summed log-probability) otherwise. NaN without known options.
    """
    from leakatk.sampling.decoding import Decoding
    from leakatk.sampling.exact import token_logprobs

    tokenizer, template = model.tokenizer, model.template
    probability, correct = np.full(len(prompts), np.nan), np.full(len(prompts), np.nan)
    pairs, owner = [], []
    read = [read_options(prompt) for prompt in prompts]
    for i, (prompt, (options, right, lettered)) in enumerate(zip(prompts, read, strict=True)):
        if right is not None:
            ids = template.prompt_ids(tokenizer, prompt.text)
            said = ascii_uppercase[: len(options)] if lettered else options
            pairs += [(ids, template.answer_ids(tokenizer, text, end=False)) for text in said]
            owner += [i] * len(options)
    longest = max((len(answer) for _, answer in pairs), default=1)
    logp = np.array([steps.sum() for steps in token_logprobs(model, pairs, Decoding(max_new_tokens=longest))])
    for i, (_, right, _) in enumerate(read):
        if right is not None:
            mine = logp[np.asarray(owner) == i]
            weights = np.exp(mine - mine.max())
            probability[i] = weights[right] / weights.sum()
            correct[i] = mine[right] > np.delete(mine, right).max()
    return probability, correct
