"""Weight arithmetic and the dual weight, against values computed by hand."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from leakatk.unlearning.edits import Tried, bisect, extrapolate
from leakatk.unlearning.losses import terms
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=5, retain_batch=9)


def test_extrapolate_goes_back_the_way_training_went():
    edit = extrapolate(factor=lambda p: -p["alpha"])
    start = SimpleNamespace(start={"weight": torch.tensor([[1.0, 1.0]])})
    assert edit(start, {"weight": torch.tensor([[3.0, -1.0]])}, {"alpha": 0.5})["weight"].tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_task_vector_mirrors_training_on_the_forget_set(loaded, base_model, forget, tuning):
    settings = replace(SETTINGS, tuning=tuning)
    start = dict(base_model.named_parameters())
    method = METHODS["task-vector"]
    other = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(other, forget, [], replace(method, stages=method.trains), settings=settings, quiet=True)
    unlearn(loaded, forget, [], method, settings=settings, quiet=True)
    trained = dict(other.model.named_parameters())
    moved = 0.0
    for name, value in loaded.model.named_parameters():
        torch.testing.assert_close(value - start[name], start[name] - trained[name], atol=1e-6, rtol=0)
        moved += (value - start[name]).abs().sum().item()
    assert moved > 0.01


def test_pdu_raises_its_dual_weight_by_the_violation_after_the_warm_up(loaded, forget, retain, monkeypatch):
    plain: list[float] = []

    def recorded(view, p):
        value = nll(view, p)
        plain.append(value.item())
        return value

    nll = terms.nll
    monkeypatch.setattr(terms, "nll", recorded)
    method = METHODS["pdu"].with_params(lambda_0=1.0, epsilon=0.5, eta=2.0, warmup_steps=1)
    done = unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)
    losses = plain[-3:]  # one retain loss a step, after the pass that finds out what to cache
    weights = [1.0, 1.0, 1.0 + 2.0 * (losses[1] - 0.5)]
    assert losses[1] > 0.5
    assert [row["retain"] for row in done.log] == pytest.approx([w * x for w, x in zip(weights, losses, strict=True)])


def tried(step, forget, retain):
    return Tried(step, forget, retain, forget <= 0.1, retain >= 0.9)


def test_bisection_finds_the_smallest_step_that_forgets():
    """Forgetting is reached from 2 on, keeping is lost from 3 on."""
    seen = []

    def measure(step):
        seen.append(step)
        return tried(step, 0.05 if step >= 2 else 0.5, 0.95 if step < 3 else 0.5)

    found = bisect(measure, 1.0, highest=10.0, tries=12)
    assert seen[:5] == [0.0, 1.0, 5.5, 3.25, 2.125]
    assert len(seen) == 13
    assert found.reached
    assert 2 <= found.step < 2.01
    assert (
        bisect(measure, 1.0, highest=10.0, tries=1).step == 0.0
    )  # 0 and 1 keep the rest, neither forgets: the smaller


def test_bisection_without_a_good_step_keeps_what_is_to_be_kept():
    """Forget falls to .5 at 1, from where on the rest is lost."""
    found = bisect(lambda s: tried(s, 1 - s / 2, 1.0 if s <= 1 else 0.0), 4.0, highest=40.0, tries=30)
    assert not found.reached
    assert found.kept
    assert found.step == pytest.approx(1.0, abs=1e-3)
    assert bisect(lambda s: tried(s, 0.9, 1.0 if s == 0 else 0.0), 1.0, highest=10.0, tries=5).step == 0.0
