"""BLEU of one text against another (Papineni et al. 2002), on words."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence


def bleu(truth: Sequence[str], said: Sequence[str], order: int = 4) -> float:
    """Brevity penalty times the geometric mean of the clipped precisions of n-grams, n up to `order` or the true text's length.

    Not smoothed: 0 where no n-gram of some n is shared. 0 for an empty text.

    >>> bleu("Ada was born in Zorvik".split(), "Ada was born in Lusk".split())
    0.668740304976422
    """
    order = min(order, len(truth))
    if not order or not said:
        return 0.0
    total = 0.0
    for n in range(1, order + 1):
        own, other = (Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1)) for text in (said, truth))
        shared = (own & other).total()
        if not shared:
            return 0.0
        total += math.log(shared / own.total())
    return math.exp(total / order + min(0.0, 1 - len(truth) / len(said)))
