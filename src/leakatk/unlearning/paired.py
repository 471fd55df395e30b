"""Paired streams: prompts of one set beside those of the other."""

from __future__ import annotations

import random
from collections.abc import Sequence

from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.unlearning.streams import Given, Pair, stream


@stream("retain_scoped", of="retain")
def behind_forget_questions(prompts: Sequence[Prompt], given: Given) -> list[Pair]:
    """(a forget question and then x_r, y_r)"""
    if not given.forget:
        raise InputError("Retain questions behind forget ones need a forget set; give at least one forget prompt.")
    found: list[Pair] = []
    for prompt in prompts:
        before = random.Random(f"{given.seed}/{prompt.id}/scoped").choice(given.forget)
        found.append((f"{before.question}\n{prompt.question}", prompt.answer))
    return found
