"""Losses on answers that are not the true ones."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from leakatk.errors import InputError
from leakatk.unlearning.losses.terms import nll
from leakatk.unlearning.view import each_answer


@each_answer
def random_labels(*given: Any) -> Tensor:
    """SSU (arXiv 2406.10952): the mean of nll over K other prompts' answers; a view for each, then the method's numbers.

    K is the number `answers`. InputError where it is not between 1 and the number of views.
    """
    *views, params = given
    count = params["answers"]
    if not isinstance(count, int) or not 1 <= count <= len(views):
        raise InputError(f"answers must be a whole number between 1 and {len(views)}, got {count!r}.")
    return torch.stack([nll(view, params) for view in views[:count]]).mean()
