"""Representation methods as runs: what is distinctive changes the model, what is not meant to move stays, and what is projected away is gone."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from leakatk.errors import InputError
from leakatk.unlearning.inserted import Projection, forget_directions
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn

SHORT = TrainSettings(learning_rate=1e-2, max_steps=2, forget_batch=4, retain_batch=4, weight_decay=0.0)
TINY = {"layer": 0, "layers": 1, "autoencoder_steps": 5, "features": 64, "align_steps": 2, "window": 3, "traced": 2}
DOWN = "model.layers.{}.mlp.down_proj.weight"


def method_of(name, **changed):
    method = METHODS[name].for_small_models()
    tiny = {key: value for key, value in TINY.items() if key in method.params}
    return method.with_params(
        **{**tiny, "thresholds": (-1.0,) * 3, **changed} if "thresholds" in method.params else {**tiny, **changed}
    )


def after(loaded, base_model, forget, retain, method, **options):
    mine = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(mine, forget, retain, method, **{"settings": SHORT, "quiet": True, **options})
    return {name: value.detach() for name, value in mine.model.named_parameters()}


def moved(found, base_model):
    start = dict(base_model.named_parameters())
    return {name for name, value in found.items() if not torch.equal(value, start[name])}


@pytest.mark.parametrize(
    ("name", "off"),
    [
        ("falcon", {"conflict_forget": 0.0, "agree_forget": 0.0}),
        ("kuda", {"threshold": 1e9}),
        ("mrp", {"rank": 1}),
        ("duck", {"lambda_1": 0.0}),
        ("sae-unknown", {"contrast": 0.0}),
    ],
)
def test_what_is_distinctive_changes_the_model(name, off, loaded, base_model, forget, retain):
    mine = after(loaded, base_model, forget, retain, method_of(name))
    other = after(loaded, base_model, forget, retain, method_of(name, **off))
    assert any(not torch.equal(value, other[key]) for key, value in mine.items())


def test_layers_above_the_encoder_stay(loaded, base_model, forget, retain):
    """I2I trains the embedding and the layers up to its own."""
    names = moved(after(loaded, base_model, forget, retain, method_of("i2i")), base_model)
    assert names == {n for n, _ in base_model.named_parameters() if "embed" in n or ".layers.0." in n}


@pytest.mark.parametrize("name", ["r2mu", "falcon"])
def test_output_projections_alone_are_trained(name, loaded, base_model, forget, retain):
    names = moved(after(loaded, base_model, forget, retain, method_of(name, layer=1)), base_model)
    assert names == {DOWN.format(0), DOWN.format(1)}


# -- MRP


def test_a_projection_takes_away_what_lies_along_its_rows_and_folds():
    torch.manual_seed(0)
    host, made = nn.Linear(5, 4), Projection(torch.randn(2, 4))
    x = torch.randn(6, 5)
    rows = made.rows.detach().double().numpy()
    gone = rows.T @ np.linalg.inv(rows @ rows.T) @ rows  # onto the rows, without an orthonormal basis
    wanted = host(x).detach().double().numpy() @ (np.eye(4) - gone)
    with torch.no_grad():
        np.testing.assert_allclose(made(host(x)).numpy(), wanted, atol=1e-5)
        made.fold(host)
        np.testing.assert_allclose(host(x).numpy(), wanted, atol=1e-5)
        made.fold(host)  # once more takes nothing away
        np.testing.assert_allclose(host(x).numpy(), wanted, atol=1e-5)


def test_directions_of_the_forget_set_outside_the_retain_sets():
    draw = np.random.default_rng(0)
    kept = draw.normal(size=(9, 1)) * np.array([[3.0, 0, 0, 0, 0]]) + 0.01 * draw.normal(size=(9, 5))
    gone = draw.normal(size=(8, 5)) * np.array([9.0, 0.1, 4.0, 0.1, 2.0])
    found = forget_directions(torch.tensor(gone), torch.tensor(kept), 2, 0.9).numpy()
    first = np.linalg.svd(kept, full_matrices=False)[2][0]  # it alone holds nine tenths
    left = gone - np.outer(gone @ first, first)
    wanted = np.linalg.svd(left, full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs((found * wanted).sum(1)), 1, atol=1e-9)
    assert abs(found @ first).max() < 1e-9
    plain = forget_directions(torch.tensor(gone), torch.tensor(kept), 1, 0.0).numpy()
    assert abs(plain[0] @ np.linalg.svd(gone)[2][0]) == pytest.approx(1)
    with pytest.raises(InputError, match="rank must be at least 1"):
        forget_directions(torch.tensor(gone), torch.tensor(kept), 0, 0.9)


def test_mrp_projects_each_of_its_layers_and_leaves_a_plain_model(loaded, base_model, forget, retain):
    found = after(loaded, base_model, forget, retain, method_of("mrp", layer=1, layers=2))
    assert moved(found, base_model) == {DOWN.format(0), DOWN.format(1)}
    start = dict(base_model.named_parameters())
    for layer in range(2):
        assert int(torch.linalg.matrix_rank(found[DOWN.format(layer)], atol=1e-5)) == 30
        change = found[DOWN.format(layer)] - start[DOWN.format(layer)]
        assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == 2
    with pytest.raises(InputError, match="layer must be between 0 and 1"):
        after(loaded, base_model, forget, retain, method_of("mrp", layer=4))
