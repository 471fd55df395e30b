"""Requests: how they are split, and models of several of them fused."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.requests import apart, fused, input_products, regmean, split
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

SHORT = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=2, retain_batch=4)


def test_a_split_holds_every_prompt_once_in_order(forget):
    for count in range(1, 6):
        parts = split(forget, count)
        assert [prompt for part in parts for prompt in part] == forget
        assert len(parts) == count
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("count", [0, 6])
def test_a_split_that_cannot_be(forget, count):
    with pytest.raises(InputError, match="take between 1 and 5"):
        split(forget, count)


def test_regmean_is_least_squares_on_all_inputs_at_once():
    rng = np.random.default_rng(0)
    inputs = [rng.normal(size=(20, 4)) @ np.diag(scale) for scale in ([1, 2, 3, 4], [4, 3, 2, 1])]
    weights = [rng.normal(size=(3, 4)) for _ in inputs]
    wanted = np.vstack([x @ w.T for x, w in zip(inputs, weights, strict=True)])
    expected = np.linalg.lstsq(np.vstack(inputs), wanted, rcond=None)[0].T
    found = regmean([torch.tensor(w) for w in weights], [torch.tensor(x.T @ x) for x in inputs])
    np.testing.assert_allclose(found.numpy(), expected)
    assert not np.allclose(expected, np.mean(weights, axis=0))
    grams = [torch.tensor(x.T @ x) for x in inputs]
    firm = sum(g + 10 * g.diagonal().mean() * torch.eye(4) for g in grams)
    right = sum(
        (g + 10 * g.diagonal().mean() * torch.eye(4)) @ torch.tensor(w).T for g, w in zip(grams, weights, strict=True)
    )
    torch.testing.assert_close(
        regmean([torch.tensor(w) for w in weights], grams, 10.0), (torch.inverse(firm) @ right).T
    )


def test_products_are_those_of_what_goes_into_a_layer(loaded, forget):
    name, seen = "model.layers.1.mlp.down_proj", []
    handle = loaded.model.get_submodule(name).register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0][0]))
    found = input_products(loaded, forget)
    handle.remove()
    rows = torch.cat(seen).double()
    torch.testing.assert_close(found[f"{name}.weight"], rows.T @ rows)
    assert len(seen) == len(forget)
    assert set(found) == {f"{n}.weight" for n, m in loaded.model.named_modules() if isinstance(m, torch.nn.Linear)}


def test_requests_apart_begin_at_one_start_and_are_fused(loaded, base_model, forget, retain, tmp_path):
    parts = split(forget, 2)
    alone, grams = [], []
    for part in parts:
        other = replace(loaded, model=copy.deepcopy(base_model))
        unlearn(other, part, retain, "graddiff", settings=SHORT, quiet=True)
        alone.append({name: value.detach().clone() for name, value in other.model.named_parameters()})
        grams.append(input_products(other, part))
    expected = fused(alone, grams, 1e-3)
    done = apart(loaded, parts, retain, "graddiff", settings=SHORT, quiet=True, out=tmp_path / "all")
    assert len(done) == 2
    assert (tmp_path / "all" / "request-002").is_dir()
    for name, value in loaded.model.named_parameters():
        assert torch.equal(value, expected[name]), name
    norm = "model.layers.0.input_layernorm.weight"
    torch.testing.assert_close(expected[norm], (alone[0][norm] + alone[1][norm]) / 2)
    with pytest.raises(InputError, match="no request"):
        apart(loaded, [], retain, "graddiff", settings=SHORT)
