"""Other models beside the attacked one: the original, or one that writes questions; and which of them answers what."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from leakatk.arrays import Bools
from leakatk.attacks.turned import RIGHT
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling.greedy import greedy_texts
from leakatk.scorers.base import get_scorer
from leakatk.scorers.knows import default_scorers


def beside(loaded: LoadedModel, path: str) -> LoadedModel:
    """A model on the same device, asked in the same template."""
    return load_model(path, device=loaded.device.type, template=loaded.template)


def answered(loaded: LoadedModel, prompts: Sequence[Prompt], max_new_tokens: int) -> Bools:
    """(m,) whether the greedy answer to each prompt is right, by the scorer that suits them; False where it has no score."""
    if not prompts:
        return np.zeros(0, dtype=bool)
    scorer = get_scorer(default_scorers(prompts)[0])
    return np.asarray(scorer.score(prompts, greedy_texts(loaded, prompts, max_new_tokens))) >= RIGHT
