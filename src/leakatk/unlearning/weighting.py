"""Token weights, which tokens of an answer count and how much: what `Train.weigh` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.streams import STREAMS
from leakatk.unlearning.view import View, Weigh


def known_tokens(least: float) -> Weigh:
    """1 for tokens of forget answers to which the reference gives a probability of at least `least`, else 0.

    What it did not know needs no forgetting. Retain answers keep all their tokens.
    """
    if not 0 < least <= 1:
        raise InputError(f"The least probability must be above 0 and at most 1, got {least!r}.")

    def weigh(view: View, params: Mapping[str, Any]) -> Tensor | None:
        if STREAMS[view.stream].side != "forget":
            return None
        return (view.reference.token_logprob >= math.log(least)).float()

    return weigh
