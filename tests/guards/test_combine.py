"""Combined logits, token by token, against the formula written a second time."""

import math

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.combine import Difference, Rank


@pytest.fixture
def logits():
    torch.manual_seed(0)
    return [3 * torch.randn(2, 5, 40) for _ in range(3)]


def softmax(row):
    weights = [math.exp(x - max(row)) for x in row]
    return [weight / sum(weights) for weight in weights]


@pytest.mark.parametrize(("alpha", "plausible"), [(0.0, 0.0), (1.0, 0.0), (1.5, 0.0), (-0.5, 0.0), (1.0, 0.1)])
def test_the_difference_moves_probabilities(logits, alpha, plausible):
    found = Difference(alpha, plausible).combine(*logits).softmax(-1).double().numpy()
    for place in np.ndindex(2, 5):
        p, clean, dirty = (softmax(z[place].tolist()) for z in logits)
        made = [a * (b / c) ** alpha for a, b, c in zip(p, clean, dirty, strict=True)]
        made = [value if p[i] >= plausible * max(p) else 0.0 for i, value in enumerate(made)]
        np.testing.assert_allclose(found[place], np.array(made) / sum(made), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("top", [1, 3, 20])
def test_the_most_preferred_tokens_are_not_said(logits, top):
    found = Rank(top).combine(*logits)
    finite = Rank(top, finite=True).combine(*logits)
    for place in np.ndindex(2, 5):
        z, clean, dirty = (part[place].tolist() for part in logits)
        order = sorted(range(40), key=lambda v: clean[v] - dirty[v])
        bound = sorted(z, reverse=True)[top - 1]
        for v in range(40):
            low = v in order[:top]
            assert found[place][v].item() == (-math.inf if low else z[v])
            assert finite[place][v].item() == (min(z[v], bound) if low else z[v])


def test_options_that_cannot_be(logits):
    with pytest.raises(InputError, match="at least 1, got 0"):
        Rank(top=0)
    with pytest.raises(InputError, match="would lower all 40 tokens"):
        Rank(top=40).combine(*logits)
    with pytest.raises(InputError, match="plausible between 0 and 1"):
        Difference(plausible=1.5)
    with pytest.raises(InputError, match="alpha must be a finite number"):
        Difference(alpha=math.inf)
