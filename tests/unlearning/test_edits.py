"""Weight arithmetic and the dual weight, against values computed by hand."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.unlearning.edits import task_vector
from leakatk.unlearning.losses import token
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=5, retain_batch=9)


def test_task_vector_goes_back_the_way_training_went():
    model = torch.nn.Linear(2, 1, bias=False)
    model.weight.data = torch.tensor([[3.0, -1.0]])
    task_vector({"weight": torch.tensor([[1.0, 1.0]])}, model, {"alpha": 0.5})
    assert model.weight.tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_task_vector_mirrors_training_on_the_forget_set(loaded, base_model, forget, tuning):
    settings = replace(SETTINGS, tuning=tuning)
    start = dict(base_model.named_parameters())
    method = METHODS["task-vector"]
    other = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(other, forget, [], replace(method, finish=None), settings=settings, quiet=True)
    unlearn(loaded, forget, [], method, settings=settings, quiet=True)
    trained = dict(other.model.named_parameters())
    moved = 0.0
    for name, value in loaded.model.named_parameters():
        torch.testing.assert_close(value - start[name], start[name] - trained[name], atol=1e-6, rtol=0)
        moved += (value - start[name]).abs().sum().item()
    assert moved > 0.01


def test_pdu_raises_its_dual_weight_by_the_violation_after_the_warm_up(loaded, forget, retain, monkeypatch):
    plain: list[float] = []

    def recorded(logits, labels):
        value = token_nll(logits, labels)
        plain.append(value.item())
        return value

    token_nll = token.nll
    monkeypatch.setattr(token, "nll", recorded)
    method = METHODS["pdu"].with_params(lambda_0=1.0, epsilon=0.5, eta=2.0, warmup_steps=1)
    done = unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)
    losses = plain[-3:]  # one retain loss a step, after the pass that finds out what to cache
    weights = [1.0, 1.0, 1.0 + 2.0 * (losses[1] - 0.5)]
    assert losses[1] > 0.5
    assert [row["retain"] for row in done.log] == pytest.approx([w * x for w, x in zip(weights, losses, strict=True)])
