"""Hypernetwork: what it makes, both losses, that a task is unlearned without data and without harm to the others."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.guards import get_guard
from leakatk.guards.hypernetwork import Tasks, kept_apart, made, to_noise
from leakatk.guards.sampler import fitted, placed
from leakatk.prompts import Known
from leakatk.sampling.native import NativeSampler
from tests.guards.conftest import FORGET, RETAIN, drawn

QUICK = Tasks(lora_rank=2, hidden=16, embedding=8, chunk=64, steps=6, burn_in=60)
KNOWN = Known(forget=FORGET[:1], retain=RETAIN[:2])


@pytest.fixture(scope="module")
def learned(loaded):
    return QUICK.fit(KNOWN, loaded)


def tensors(action):
    parts = {name: torch.from_numpy(value).float() for name, value in action.weights.items()}
    return parts, parts.pop("tasks")


def test_the_network_and_both_losses_by_hand():
    draw = np.random.default_rng(0)
    shapes = {"into": (5, 6), "into_bias": (5,), "out": (4, 5), "out_bias": (4,), "chunks": (2, 3)}
    parts = {name: draw.normal(size=shape) for name, shape in shapes.items()}
    tasks = draw.normal(size=(3, 3))
    rows = []
    for task in tasks:
        row = []
        for chunk in parts["chunks"]:
            inner = np.tanh(parts["into"] @ np.concatenate([task, chunk]) + parts["into_bias"])
            row += list(parts["out"] @ inner + parts["out_bias"])
        rows.append(row)
    found = made({name: torch.tensor(value) for name, value in parts.items()}, torch.tensor(tasks))
    np.testing.assert_allclose(found.numpy(), rows)
    before, noise = draw.normal(size=(3, 8)), draw.normal(size=(5, 8))
    apart = sum(((np.array(row) - old) ** 2).sum() for row, old in zip(rows, before, strict=True)) / 3
    assert float(kept_apart(found, torch.tensor(before))) == pytest.approx(apart)
    assert float(kept_apart(found[:0], found[:0])) == 0.0
    away = np.mean([((np.array(rows[1]) - one) ** 2).sum() for one in noise])
    assert float(to_noise(found[1], torch.tensor(noise))) == pytest.approx(away)


def test_a_task_is_unlearned_without_data_and_the_others_stay(loaded):
    """What is made for it shrinks towards noise; without beta (the mutant) the others lose theirs."""
    drift = {}
    for beta in (0.1, 0.0):
        action = replace(QUICK, beta=beta, spread=0.001, rate=0.01, hidden=32, burn_in=200)
        parts, tasks = action._fresh(loaded, 3)
        with torch.no_grad():
            parts["out"] *= 30  # as if something had been learned
        before = made(parts, tasks).detach()
        left = action._unlearn(parts, tasks, 2)
        after = made(parts, tasks).detach()
        assert left == pytest.approx(float(after[2].norm() / before[2].norm()), rel=1e-4)
        assert left < 0.3
        drift[beta] = float((after[:2] - before[:2]).norm() / before[:2].norm())
    assert drift[0.1] < 0.3 * drift[0.0]


def test_a_later_task_leaves_what_is_made_for_earlier_ones(loaded):
    """Without beta, the mutant, it does not."""
    drift = {}
    for beta in (10.0, 0.0):
        action = replace(QUICK, beta=beta, rate=0.01, steps=10)
        parts, tasks = action._fresh(loaded, 2)
        action._learn(loaded, parts, tasks, 0, RETAIN[:1])
        before = made(parts, tasks).detach()
        action._learn(loaded, parts, tasks, 1, RETAIN[1:2])
        drift[beta] = float((made(parts, tasks).detach()[0] - before[0]).norm())
    assert drift[10.0] < 0.3 * drift[0.0]


def test_noise_around_nothing_is_the_model_itself(loaded, learned):
    """Where the network makes 0, and for a prompt of no task, the answers are the bare model's; for a learned task they are others."""
    silent = replace(
        learned,
        weights={**learned.weights, "out": 0 * learned.weights["out"], "out_bias": 0 * learned.weights["out_bias"]},
    )
    ids = torch.tensor([[1, 5, 9, 4]])

    def logits(action, prompt):
        with torch.no_grad(), action.hooks(loaded, [prompt]):
            return loaded.model(input_ids=ids).logits

    with torch.no_grad():
        plain = loaded.model(input_ids=ids).logits
    assert torch.equal(logits(silent, RETAIN[0]), plain)
    assert torch.equal(logits(learned, RETAIN[3]), plain)
    assert not torch.equal(logits(learned, RETAIN[0]), plain)


def test_what_is_said_of_it_and_drawn_under_it(loaded, learned):
    told = learned.describe()
    assert (told["tasks"], told["gone"]) == (3, 1)
    assert 0 < told["left"] < 1
    assert learned.names == ("r0", "r1", "f0")
    guard = fitted(get_guard("uncle").with_options(steps=2, burn_in=2), KNOWN, loaded)
    found, bare = (
        drawn(placed(NativeSampler(loaded), guard, KNOWN), RETAIN, n=2),
        drawn(NativeSampler(loaded), RETAIN, n=2),
    )
    for key in bare:
        if key[0] in ("r2", "r3"):
            assert (found[key].text, found[key].token_ids) == (bare[key].text, bare[key].token_ids)


def test_what_cannot_be_done(loaded):
    with pytest.raises(InputError, match="at least 1"):
        Tasks(steps=0)
    with pytest.raises(InputError, match="above 0"):
        Tasks(gamma=0.0)
    shared = Known(forget=(replace(FORGET[0], source="Ada"),), retain=(replace(RETAIN[0], source="Ada"),))
    with pytest.raises(InputError, match="forgotten as a whole"):
        QUICK.fit(shared, loaded)
    with pytest.raises(InputError, match="engine native or generate"):
        QUICK.fit(KNOWN, None)
