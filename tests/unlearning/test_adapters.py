"""FILA: an adapter that begins as a part of the weights changes nothing, and is the nearest part in the weighted sense."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from leakatk.errors import InputError
from leakatk.unlearning.adapters import adapted, fisher_adapter, importance
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

LORA = TrainSettings(
    learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4, tuning="lora", lora_rank=4, lora_alpha=8.0
)


@pytest.fixture
def work(loaded, tokenizer, forget, retain):
    return Work(loaded, forget, retain, Streams(forget, retain, tokenizer, loaded.template, seed=0), LORA, {}, 0)


def wrapped(work, rank=4):
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    return get_peft_model(work.loaded.model, config)


def logits(model, item):
    with torch.no_grad():
        return model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0].numpy()


def test_the_model_stays_what_it_was_and_the_adapter_is_not_nothing(work):
    items = work.streams.items("forget")
    before = [logits(work.loaded.model, item) for item in items]
    model = wrapped(work)
    fisher_adapter(work, model)
    for item, value in zip(items, before, strict=True):
        assert logits(model, item) == pytest.approx(value, abs=2e-4)
    assert all(bool(layer.lora_B["default"].weight.detach().any()) for layer in adapted(model).values())
    merged = model.merge_and_unload()
    assert logits(merged, items[0]) == pytest.approx(before[0], abs=2e-4)


def test_importance_is_the_mean_square_of_a_batchs_gradient(work):
    model = wrapped(work)
    name = next(name for name in adapted(model) if name.endswith("layers.1.mlp.down_proj"))
    layers = {name: adapted(model)[name]}
    found = importance(work, "forget", layers, batch_size=2)[name]
    items, total, count = work.streams.items("forget"), 0.0, 0
    weight = layers[name].base_layer.weight.requires_grad_(True)
    for start in range(0, len(items), 2):
        part = items[start : start + 2]
        tokens = sum(len(item.answer) for item in part)
        loss = 0.0
        for item in part:
            z = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(z, torch.tensor(item.answer), reduction="sum")
        (g,) = torch.autograd.grad(loss / tokens, weight)
        total, count = total + tokens * g**2, count + tokens
    assert found.numpy() == pytest.approx((total / count).numpy(), rel=1e-3, abs=1e-12)


def test_no_other_part_of_that_rank_is_nearer_where_it_matters(work):
    """Among matrices of rank 4, B A is nearest to W with its rows weighed by the root of their information: Eckart and Young."""
    start = copy.deepcopy(work.loaded.model)
    model = wrapped(work)
    gone, kept = (importance(work, of, adapted(model)) for of in ("forget", "retain"))
    fisher_adapter(work, model)
    for name, layer in adapted(model).items():
        plain = start.get_submodule(name.removeprefix("base_model.model.")).weight.detach().double().numpy()
        rows = (gone[name] / (1e-5 + kept[name])).sum(1).sqrt().double().numpy()
        if rows.min() < 1e-2:
            continue  # a row without information: what divides by it is the authors' 1e-5
        part = 2.0 * (layer.lora_B["default"].weight @ layer.lora_A["default"].weight).detach().double().numpy()
        left, values, right = np.linalg.svd(rows[:, None] * plain)
        best = (left[:, :4] * values[:4]) @ right[:4]
        distance = np.linalg.norm(rows[:, None] * (plain - part))
        assert distance == pytest.approx(np.linalg.norm(rows[:, None] * plain - best), rel=0.02), name


def test_loku_begins_so_with_an_adapter_and_without_one_trains_whole_weights(loaded, base_model, forget, retain):
    begun = []
    method = METHODS["loku"]
    (stage,) = method.trains
    watched = replace(stage, adapter=lambda work, model: begun.append(len(adapted(model))))
    for settings in (LORA, replace(LORA, tuning="full")):
        other = replace(loaded, model=copy.deepcopy(base_model))
        unlearn(other, forget, retain, replace(method, stages=(watched,)), settings=settings, quiet=True)
    assert begun == [14]


def test_an_adapter_that_is_kept_is_refused(loaded, forget, retain):
    with pytest.raises(InputError, match="no adapter for the model as it was"):
        unlearn(loaded, forget, retain, "loku", settings=replace(LORA, keep_adapter=True), quiet=True)


def test_without_an_adapter_there_is_nothing_to_begin(work):
    with pytest.raises(InputError, match="needs an adapter"):
        fisher_adapter(work, work.loaded.model)


def test_a_run_that_was_cut_off_ends_with_the_same_weights(loaded, base_model, forget, retain, tmp_path):
    settings = replace(LORA, checkpoint_every=1, check_every=2)

    def stop(loaded, step):
        raise KeyboardInterrupt

    unlearn(loaded, forget, retain, "loku", settings=settings, out=tmp_path / "whole", quiet=True)
    other = replace(loaded, model=copy.deepcopy(base_model))
    with pytest.raises(KeyboardInterrupt):
        unlearn(other, forget, retain, "loku", settings=settings, out=tmp_path / "cut", on_check=stop, quiet=True)
    other = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(other, forget, retain, "loku", settings=settings, out=tmp_path / "cut", quiet=True)
    for name, value in other.model.state_dict().items():
        assert torch.equal(value, loaded.model.state_dict()[name]), name
