"""Tether: the information by hand, the pull as a slope, and runs that are cut off."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.optimisers import sgd
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.tether import fisher, pulled, tether
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

SAFE = METHODS["safe"]
SHORT = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=5, weight_decay=0.0, max_grad_norm=0.0)


@pytest.fixture
def work(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, SHORT, {**SAFE.params}, 0)


def test_the_information_by_hand(work):
    """One answer at a time, its mean log-probability written down again."""
    found, model = fisher(work, "retain"), work.loaded.model
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    items = work.streams.items("retain")
    for item in items:
        model.zero_grad()
        logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1]
        torch.nn.functional.cross_entropy(logits, torch.tensor(item.answer)).backward()
        for name, value in model.named_parameters():
            total[name] += value.grad**2 / len(items)
    model.zero_grad()
    for name, value in total.items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-6 * float(value.max()))


def test_stiffness_has_mean_one_and_needs_retain_answers(work):
    made = tether(work)
    every = torch.cat([value.flatten() for value in made["stiffness"].values()]).double()
    assert float(every.mean()) == pytest.approx(1.0, abs=1e-5)
    assert tether(replace(work, params={**work.params, "anchor": "l2"}))["stiffness"] == {}
    with pytest.raises(InputError, match="take anchor=l2"):
        tether(replace(work, retain=[]))
    with pytest.raises(InputError, match="anchor must be fisher or l2"):
        tether(replace(work, params={**work.params, "anchor": "none"}))


def test_the_pull_is_the_slope_of_the_quadratic(work):
    params = {**work.params, "strength": 3.0, **tether(work)}
    for value in params["live"].values():
        value.data += 0.01 * torch.randn(value.shape, generator=torch.Generator().manual_seed(0))
    leaves = {name: value.detach().clone().requires_grad_() for name, value in params["live"].items()}
    energy = sum(
        3.0 / 2 * (params["stiffness"][name] * (value - params["start"][name]) ** 2).sum()
        for name, value in leaves.items()
    )
    energy.backward()
    gradient = {name: torch.ones_like(value) for name, value in leaves.items()}
    found = pulled(gradient, params)
    for name, value in leaves.items():
        torch.testing.assert_close(found[name], 1 + value.grad)
    plain = pulled(gradient, {**params, "stiffness": {}})
    for name, value in leaves.items():
        torch.testing.assert_close(plain[name], 1 + 3.0 * (value.detach() - params["start"][name]))


def test_a_step_of_the_method_by_hand(loaded, base_model, forget, retain):
    """Two steps of plain descent: the first has no pull, the second that of the first."""
    stage = replace(SAFE.trains[0], optimiser=sgd())
    method = replace(SAFE.with_params(anchor="l2", strength=2.0), stages=(stage,))
    start = {name: value.detach().clone() for name, value in loaded.model.named_parameters()}
    runs = {}
    for steps, strength in ((1, 2.0), (2, 2.0), (2, 0.0)):
        other = replace(loaded, model=copy.deepcopy(base_model))
        settings = replace(SHORT, max_steps=steps)
        unlearn(other, forget, retain, method.with_params(strength=strength), settings=settings, quiet=True)
        runs[steps, strength] = dict(other.model.named_parameters())
    for name, value in start.items():
        moved = runs[1, 2.0][name] - value
        expected = runs[2, 0.0][name] - 1e-3 * 2.0 * moved
        torch.testing.assert_close(runs[2, 2.0][name], expected, rtol=0, atol=1e-6)
    assert any(not torch.equal(runs[2, 2.0][name], runs[2, 0.0][name]) for name in start)


def test_no_adapter_and_a_run_that_is_cut_off_ends_alike(loaded, base_model, forget, retain, tmp_path):
    with pytest.raises(InputError, match="leave --lora out"):
        unlearn(loaded, forget, retain, SAFE, settings=replace(SHORT, tuning="lora"), quiet=True)
    settings = replace(SHORT, checkpoint_every=1, check_every=1)

    def fresh():
        return replace(loaded, model=copy.deepcopy(base_model))

    def kill(_, step):
        if step == 3:
            raise KeyboardInterrupt
        from leakatk.unlearning.settings import Check

        return Check({}, stop=False)

    whole = fresh()
    unlearn(whole, forget, retain, SAFE, settings=settings, quiet=True, out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        unlearn(fresh(), forget, retain, SAFE, settings=settings, quiet=True, out=tmp_path / "cut", on_check=kill)
    again = fresh()
    unlearn(again, forget, retain, SAFE, settings=settings, quiet=True, out=tmp_path / "cut")
    for name, value in whole.model.named_parameters():
        assert torch.equal(value, again.model.get_parameter(name)), name
