"""Rotations of requests: what they do to a layer, both penalties, that they come in turn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.rotations import Rotations, alignment, attention_layers, symmetric, turned
from leakatk.guards.sampler import fitted, placed
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import FORGET, RETAIN, drawn, leaks

KNOWN = Known(forget=FORGET)
QUICK = {"map_steps": 3, "steps": 30, "rate": 0.02}


@pytest.fixture(scope="module")
def ready(loaded):
    """Two requests: of two prompts and of one."""
    return fitted(get_guard("rcu").with_options(requests=2, **QUICK), KNOWN, loaded)


def pair(seed, size=6, rank=2):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rank, size, generator=draw), torch.randn(size, rank, generator=draw)


def test_both_penalties_by_hand():
    first, second = pair(0), pair(1)
    one, two = ((up @ down).numpy() for down, up in (first, second))
    assert float(symmetric(first)) == pytest.approx(np.square(one + one.T).sum(), rel=1e-5)
    cosine = abs((one * two).sum()) / (np.linalg.norm(one) * np.linalg.norm(two))
    assert float(alignment(first, second)) == pytest.approx(cosine, rel=1e-5)
    action = Rotations(skew=0.5, apart=2.0)
    found = action.penalty([first, second], [[second], []])
    assert float(found) == pytest.approx(
        (0.5 * (np.square(one + one.T).sum() + np.square(two + two.T).sum()) + 2.0 * cosine) / 2, rel=1e-5
    )
    a, b = (
        torch.randn(1, 6, generator=torch.Generator().manual_seed(2)),
        torch.randn(1, 6, generator=torch.Generator().manual_seed(3)),
    )
    skew = (torch.cat([a, b]), torch.cat([b, -a]).T)  # C = b'a - a'b
    assert float(symmetric(skew)) == pytest.approx(0.0, abs=1e-3)
    assert Rotations(skew=0.0).penalty([first], [[]]) == 0.0


def test_a_rotation_acts_on_what_a_layer_gives(loaded):
    """(I + C) W in the place of W, in the attention alone; twice the weight is twice the change."""
    layers = attention_layers(loaded.model)
    assert all("attn" in name for name in layers)
    assert not any("mlp" in name for name in layers)
    ids = torch.tensor([[1, 5, 9, 4]])
    pairs = [
        [(0.2 * pair(i, layer.weight.shape[0])[0], 0.2 * pair(i, layer.weight.shape[0])[1])]
        for i, layer in enumerate(layers.values())
    ]
    before = {name: layer.weight.clone() for name, layer in layers.items()}
    with torch.no_grad():
        with turned(list(layers.values()), pairs):
            found = loaded.model(input_ids=ids).logits
        plain = loaded.model(input_ids=ids).logits
        for layer, [(down, up)] in zip(layers.values(), pairs, strict=True):
            layer.weight.copy_((torch.eye(len(up)) + up @ down) @ layer.weight)
        wanted = loaded.model(input_ids=ids).logits
        for name, layer in layers.items():
            layer.weight.copy_(before[name])
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_a_bias_is_not_turned():
    layer = torch.nn.Linear(3, 4)
    (down, up), x = pair(0, 4), torch.ones(1, 3)
    with turned([layer], [[(down, up)]]):
        found = layer(x)
    torch.testing.assert_close(found, x @ layer.weight.T @ (torch.eye(4) + up @ down).T + layer.bias)


def test_it_answers_otherwise_where_the_detector_says_so(loaded, ready):
    sampler = placed(NativeSampler(loaded), ready, KNOWN)
    assert leaks(drawn(sampler, FORGET, n=4), FORGET) < 0.3
    assert leaks(drawn(NativeSampler(loaded), FORGET, n=4), FORGET) > 0.7
    quiet = [prompt for prompt, on in zip(RETAIN, ready.detector.flags(RETAIN), strict=True) if not on]
    assert drawn(sampler, quiet, n=2) == drawn(NativeSampler(loaded), quiet, n=2)


def test_a_later_request_turns_about_another_axis(loaded, ready):
    """Its penalty does it, and what was learned for the first stays as it was."""

    def cosines(**options):
        action = replace(ready.action, **options, learned=ready.action.learned[:1], hashes=ready.action.hashes[:1])
        first, second = replace(action, prompts=FORGET).beside(ready.detector).learned
        assert all(np.array_equal(a, b) for a, b in zip(first, ready.action.learned[0], strict=True))
        pairs = [[(torch.tensor(p[i]), torch.tensor(p[i + 1])) for i in range(0, len(p), 2)] for p in (first, second)]
        return np.mean([float(alignment(a, b)) for a, b in zip(*pairs, strict=True)])

    assert cosines(apart=1.0) < 0.5 * cosines(apart=0.0)


def test_it_is_more_skew_with_its_penalty(loaded, ready):
    def share(**options):
        action = replace(ready.action, **options, learned=(), hashes=())
        parts = replace(action, prompts=FORGET).beside(replace(ready.detector, requests=1)).learned[0]
        each = [(torch.tensor(parts[i]), torch.tensor(parts[i + 1])) for i in range(0, len(parts), 2)]
        return np.mean([float(symmetric(one)) / (4 * float((one[1] @ one[0]).square().sum())) for one in each])

    assert share(skew=1.0) < 0.5 * share(skew=0.0)


def test_bad_options(loaded, monkeypatch):
    with pytest.raises(InputError, match="skew must be at least 0"):
        Rotations(skew=-1.0)
    monkeypatch.setattr(
        "leakatk.guards.rotations.linear_layers", lambda model: {"layers.0.mixer.in": torch.nn.Linear(2, 2)}
    )
    with pytest.raises(InputError, match="attention"):
        attention_layers(loaded.model)
