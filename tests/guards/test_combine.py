"""Combined logits, token by token, against the formula written a second time."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards.combine import Difference, Offset, Rank


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


SPECIAL = (0, 3, 39)


@pytest.mark.parametrize("action", [Difference(1.5), Difference(1.0, 0.2), Rank(20), Rank(20, finite=True)], ids=repr)
def test_pinned_tokens_keep_the_models_own_logits(logits, action):
    """And the others are as without: a token that is pinned is none of those that are lowered."""
    loaded = SimpleNamespace(tokenizer=SimpleNamespace(all_special_ids=[0, 3]), end_ids=frozenset({3, 39}))
    more, combine = replace(action, pin=True).joining(loaded)
    found, free = combine(*logits), action.combine(*logits)
    assert more == []
    assert torch.equal(found[..., SPECIAL], logits[0][..., SPECIAL])
    assert not torch.equal(found, free)
    rest = [i for i in range(40) if i not in SPECIAL]
    if isinstance(action, Difference):
        assert torch.equal(found[..., rest], free[..., rest])
    else:
        for place in np.ndindex(2, 5):
            z, clean, dirty = (part[place].tolist() for part in logits)
            lowered = sorted(rest, key=lambda v: clean[v] - dirty[v])[: action.top]
            bound = sorted(z, reverse=True)[action.top - 1]
            for v in rest:
                low = min(z[v], bound) if action.finite else -math.inf
                assert found[place][v].item() == (low if v in lowered else z[v])
    _, unpinned = action.joining(loaded)
    assert torch.equal(unpinned(*logits), free)


def test_the_offset_is_the_difference_of_a_tuned_model_and_itself_before(logits):
    assert Offset.models == ("tuned", "before")
    assert torch.equal(Offset(0.5).combine(*logits), Difference(0.5).combine(*logits))
    assert torch.equal(Offset(1.0).combine(logits[0], logits[1], logits[1]), logits[0])


def test_options_that_cannot_be(logits):
    with pytest.raises(InputError, match="at least 1, got 0"):
        Rank(top=0)
    with pytest.raises(InputError, match="would lower all 40 tokens"):
        Rank(top=40).combine(*logits)
    with pytest.raises(InputError, match="plausible between 0 and 1"):
        Difference(plausible=1.5)
    with pytest.raises(InputError, match="alpha must be a finite number"):
        Difference(alpha=math.inf)
