"""Grokked unlearning: the pairs, when a network counts as what, a step of the unlearning by hand, and the table."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.small.grokking import Adder, Forgot, GrokSettings, compare, forgotten, pairs_of, says, table, trained

TINY = GrokSettings(modulus=5, share=0.6, forget=3, width=8, rate=1e-2, decay=0.1, steps=300, every=10, unlearn_steps=1)


def test_pairs_are_parted_by_the_seed():
    pairs = pairs_of(TINY, 1)
    parts = [pairs.forget.tolist(), pairs.retain.tolist(), pairs.unseen.tolist()]
    assert [len(part) for part in parts] == [3, 12, 10]
    assert sorted([*parts[0], *parts[1], *parts[2]]) == [[a, b] for a in range(5) for b in range(5)]
    assert pairs_of(TINY, 2).forget.tolist() != parts[0]
    assert pairs.sums(torch.tensor([[4, 3], [1, 1]])).tolist() == [2, 2]


def logits_of(state, pairs):
    """(n, m) in NumPy."""
    w = {name: value.double().numpy() for name, value in state.items()}
    x = w["embedding.weight"][np.array(pairs)].reshape(len(pairs), -1)
    return np.maximum(x @ w["hidden.weight"].T + w["hidden.bias"], 0) @ w["output.weight"].T


def test_when_a_network_counts_as_what():
    pairs = pairs_of(TINY, 0)
    found = trained(replace(TINY, grokked=0.0), pairs, 0)
    (first, memorised), (then, grokked) = found["memorised"], found["grokked"]
    assert first % 10 == then % 10 == 0
    assert first == then, "each share is at least none"
    known = torch.cat([pairs.forget, pairs.retain])
    assert (logits_of(memorised, known.tolist()).argmax(1) == known.sum(1).numpy() % 5).all()
    assert "grokked" not in trained(replace(TINY, grokked=1.5), pairs, 0)
    assert not trained(replace(TINY, steps=5), pairs, 0), "no check, no network"
    again = trained(replace(TINY, grokked=0.0), pairs, 0)["grokked"][1]
    assert all(torch.equal(again[name], value) for name, value in grokked.items())


def nll(state, pairs):
    z = logits_of(state, pairs.tolist())
    z = z - z.max(axis=1, keepdims=True)
    logs = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return -logs[np.arange(len(z)), pairs.sum(1).numpy() % 5].mean()


def test_cosine_by_finite_differences_and_the_first_step_goes_up_the_difference():
    pairs, torch_state = pairs_of(TINY, 0), torch.random.get_rng_state()
    torch.manual_seed(0)
    state = {name: value.detach().double() for name, value in Adder(TINY).state_dict().items()}
    torch.random.set_rng_state(torch_state)
    gradients = {"forget": [], "retain": []}
    for value in state.values():
        flat = value.view(-1)
        for i in range(len(flat)):
            ends = {side: [] for side in gradients}
            for sign in (1, -1):
                flat[i] += sign * 1e-5
                for side, found in ends.items():
                    found.append(nll(state, getattr(pairs, side)))
                flat[i] -= sign * 1e-5
            for side, (up, down) in ends.items():
                gradients[side].append((up - down) / 2e-5)
    f, r = (np.array(gradients[side]) for side in ("forget", "retain"))
    settings = replace(TINY, target=-1.0)
    row = forgotten(settings, pairs, {name: value.float() for name, value in state.items()}, which="x", at=7)
    assert row.cosine == pytest.approx(float(f @ r / np.linalg.norm(f) / np.linalg.norm(r)), abs=1e-3)
    assert row.steps == math.inf, "one step is not enough for less than nothing"
    kept = forgotten(replace(TINY, target=1.0), pairs, {name: value.float() for name, value in state.items()})
    assert kept.steps == 0
    assert kept.retain[0] == kept.retain[1]
    # Enough steps take forget pairs away and leave retain pairs: with the sides exchanged it would be the other way round.
    found = trained(TINY, pairs, 0)["memorised"][1]
    done = forgotten(replace(TINY, unlearn_steps=300, unlearn_rate=1e-3), pairs, found)
    assert 0 < done.steps < 300
    assert done.retain[1] >= 0.7


def test_the_table_counts_what_is_missing():
    rows = [
        Forgot(0, "memorised", 100, 20, -0.5, (1.0, 0.9), (0.1, 0.1)), Forgot(1, "memorised", 200, math.inf, -0.3, (1.0, 0.7), (0.1, 0.0)),
        Forgot(0, "grokked", *[math.nan] * 3, *[(math.nan, math.nan)] * 2),
    ]  # fmt: skip
    head, memorised, grokked = table(rows).splitlines()
    assert "steps" in head
    assert "150 ±50" in memorised
    assert "20 ±0 (1/2)" in memorised, "infinite steps are no number"
    assert "0.2 ±0.1" in memorised
    assert grokked.count("none (0/1)") == 5


def test_both_networks_of_each_seed():
    rows = compare(seeds=2, settings=replace(TINY, grokked=1.5))
    assert [(row.seed, row.which) for row in rows] == [(i, which) for i in (0, 1) for which in ("memorised", "grokked")]
    assert not math.isnan(rows[0].cosine)
    assert math.isnan(rows[1].cosine)


@pytest.mark.slow
def test_the_default_sizes_grok_and_the_two_networks_differ():
    memorised, grokked = compare(seeds=1)
    assert memorised.unseen[0] < 0.2
    assert grokked.unseen[0] >= 0.95
    assert grokked.at > 5 * memorised.at
    assert memorised.steps < grokked.steps


def test_what_makes_no_sense():
    with pytest.raises(InputError, match=r"fewer pairs to forget than are trained; got 5, 0\.6 and 15"):
        replace(TINY, forget=15)
    with pytest.raises(InputError, match="must be at least 1"):
        replace(TINY, every=0)


def test_shares_are_of_the_likeliest_sums():
    pairs = pairs_of(TINY, 0)
    model = Adder(TINY)
    wanted = (logits_of(model.state_dict(), pairs.unseen.tolist()).argmax(1) == pairs.unseen.sum(1).numpy() % 5).mean()
    assert says(model, pairs, pairs.unseen) == pytest.approx(float(wanted))
