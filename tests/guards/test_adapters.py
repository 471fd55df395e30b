"""Adapters of requests: what they add, how they are trained, that they come in turn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.adapters import Adapters, adapted, linear_layers, sizes
from leakatk.guards.base import Always
from leakatk.guards.sampler import fitted, guarded, placed
from leakatk.guards.saved import load_guard, save_guard
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import FORGET, RETAIN, drawn, leaks

KNOWN = Known(forget=FORGET)
QUICK = {"map_steps": 3, "steps": 25, "rate": 0.01}


@pytest.fixture(scope="module")
def ready(loaded):
    """Two requests: of two prompts and of one."""
    return fitted(get_guard("o3").with_options(requests=2, **QUICK), KNOWN, loaded)


def test_a_layer_gives_its_own_and_what_the_adapters_add(loaded):
    layers = linear_layers(loaded.model)
    assert not any("lm_head" in name for name in layers)
    ids = torch.tensor([[1, 5, 9, 4]])
    draw = torch.Generator().manual_seed(0)
    pairs, before = [], {name: layer.weight.clone() for name, layer in layers.items()}
    for layer in layers.values():
        entries, out = sizes(layer)
        pairs.append([(torch.randn(2, entries, generator=draw) * 0.1, torch.randn(out, 2, generator=draw) * 0.1)] * 2)
    with torch.no_grad():
        with adapted(list(layers.values()), pairs):
            found = loaded.model(input_ids=ids).logits
        plain = loaded.model(input_ids=ids).logits
        for layer, own in zip(layers.values(), pairs, strict=True):
            layer.weight += sum(up @ down for down, up in own)
        wanted = loaded.model(input_ids=ids).logits
        for name, layer in layers.items():
            layer.weight.copy_(before[name])
    assert torch.allclose(found, wanted, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_it_answers_otherwise_where_the_detector_says_so(loaded, ready):
    """The weight of each adapter is the detector's, with two decimals; below the threshold it is off."""
    each = ready.detector.weights(FORGET)
    for row, prompt in zip(each, FORGET, strict=True):
        wanted = [round(w, 2) if w >= 0.2 else 0.0 for w in row]
        assert ready.action.group(loaded, prompt) == pytest.approx(wanted, abs=1e-9)
    sampler = placed(NativeSampler(loaded), ready, KNOWN)
    assert leaks(drawn(sampler, FORGET, n=4), FORGET) < 0.3
    assert leaks(drawn(NativeSampler(loaded), FORGET, n=4), FORGET) > 0.7


def test_an_adapter_shares_little_with_earlier_ones(loaded, ready):
    """The penalty does it: without it the second adapter, which begins like the first, stays like it."""

    def shared(action):
        first, second = (parts[::2] for parts in action.learned)
        return sum(((a @ b.T) ** 2).sum() for a, b in zip(first, second, strict=True)) / len(first)

    def second(**options):
        action = replace(ready.action, **options, learned=ready.action.learned[:1], hashes=ready.action.hashes[:1])
        return shared(replace(action, prompts=FORGET).beside(ready.detector))

    assert second(apart=1.0) < 0.5 * second(apart=0.0)


def test_the_penalty_by_hand(loaded, ready):
    """One step of sign descent: where the loss has no gradient (B = 0 makes that of A nothing), A moves by the penalty alone."""
    one = replace(ready.action, steps=1, rate=1e-4, learned=ready.action.learned[:1], hashes=ready.action.hashes[:1])
    moved = {}
    for apart in (0.0, 0.1):
        moved[apart] = replace(one, apart=apart, prompts=FORGET).beside(ready.detector).learned[1][::2]
    for old, start, after in zip(ready.action.learned[0][::2], moved[0.0], moved[0.1], strict=True):
        slope = start @ old.T @ old  # of |A_old A'|^2, up to a positive factor
        clear = np.abs(slope) > 1e-3 * np.abs(slope).max()
        assert (np.sign(start - after) == np.sign(slope))[clear].all()


def test_a_later_request_leaves_the_earlier_adapter_as_it_was(loaded, ready, tmp_path, monkeypatch):
    guard = get_guard("o3").with_options(requests=1, **QUICK)
    alone = fitted(guard, Known(forget=FORGET[:2]), loaded)
    for part, other in zip(alone.action.learned[0], ready.action.learned[0], strict=True):
        assert np.array_equal(part, other)
    # From a guard that was saved, the second request is added; nothing of the first is trained again.
    place = save_guard(alone, Known(forget=FORGET[:2]), {"name": "m", "fingerprint": "f"}, tmp_path / "one")
    asked, learn = [], Adapters._learn

    def counting(self, prompts, before):
        asked.append([prompt.id for prompt in prompts])
        return learn(self, prompts, before)

    monkeypatch.setattr(Adapters, "_learn", counting)
    more = fitted(load_guard(place).guard.with_options(requests=2), KNOWN, loaded)
    assert asked == [["f2"]]
    for mine, theirs in zip(more.action.learned, ready.action.learned, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(mine, theirs, strict=True))


def test_a_loaded_guard_draws_the_same(loaded, ready, tmp_path):
    about = {"name": loaded.name, "fingerprint": loaded.fingerprint}
    again = load_guard(save_guard(ready, KNOWN, about, tmp_path / "o3")).guard
    assert not again.action.prompts, "no answer is kept"
    assert b"Zorvik" not in (tmp_path / "o3" / "guard.json").read_bytes()
    one, other = (placed(NativeSampler(loaded), guard, KNOWN, hashes={}) for guard in (ready, again))
    some = [*FORGET, *RETAIN]
    assert drawn(one, some, n=2) == drawn(other, some, n=2)
    assert one.describe() == other.describe()


def test_bad_options_and_a_detector_that_knows_no_requests(loaded):
    with pytest.raises(InputError, match="at least 1"):
        Adapters(steps=0)
    with pytest.raises(InputError, match="not by Always"):
        Adapters().beside(Always())
    with pytest.raises(InputError, match="between 1 and 3"):
        guarded(NativeSampler(loaded), KNOWN, "o3:requests=9")
