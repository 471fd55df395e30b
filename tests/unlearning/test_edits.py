"""Weight arithmetic and the dual weight, against values computed by hand."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from leakatk.unlearning.edits import extrapolate
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
