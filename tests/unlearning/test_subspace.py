"""UNLEARN: the subtraction by a loop over triples, what it is subtracted from, which parts are trained."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.subspace import part_of_depth, without_similar
from leakatk.unlearning.trainer import unlearn

SHORT = TrainSettings(learning_rate=1e-3, max_steps=2, forget_batch=4, retain_batch=4)
METHOD = METHODS["unlearn-subspace"].with_params(rank=3)


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def test_what_the_similar_task_has_is_taken_out_of_each_direction():
    draw = np.random.default_rng(0)
    task, similar = draw.normal(size=(5, 6)), draw.normal(size=(5, 6))
    u, s, v = np.linalg.svd(task)
    w = np.linalg.svd(similar)[2]
    wanted = np.zeros((5, 6))
    for i in range(2):
        way = v[i].copy()
        for j in range(2):
            way -= (v[i] @ w[j]) / (w[j] @ w[j]) * w[j]
        wanted += s[i] * np.outer(u[:, i], way)
    found = without_similar(torch.tensor(task), torch.tensor(similar), 2).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    assert abs(found @ w[:2].T).max() < 1e-10 < abs(found).max()
    alone = without_similar(torch.tensor(task), torch.zeros(5, 6), 9).numpy()
    np.testing.assert_allclose(alone, task, atol=1e-10)


def test_the_task_of_a_fresh_network_is_subtracted_from_the_start(loaded, base_model, forget, retain):
    start = weights(base_model)
    unlearn(loaded, forget, retain, METHOD, settings=SHORT, quiet=True)
    twice = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(twice, forget, retain, METHOD.with_params(scale=-2.0), settings=SHORT, quiet=True)
    other = weights(twice.model)
    for name, value in weights(loaded.model).items():
        change = value - start[name]
        assert bool(change.any()) == (".layers." in name and value.dim() == 2), name
        torch.testing.assert_close(other[name] - start[name], -2 * change, rtol=1e-3, atol=1e-6)
        if value.dim() == 2:
            assert int(torch.linalg.matrix_rank(change, atol=1e-6)) <= 3


def test_what_makes_no_sense(loaded, forget, retain):
    with pytest.raises(InputError, match="rank must be at least 1"):
        unlearn(loaded, forget, retain, METHOD.with_params(rank=0), settings=SHORT, quiet=True)

    class Work:
        pass

    work = Work()
    work.loaded = loaded
    names = [part_of_depth(part, 2)(work) for part in range(2)]
    assert all(f".layers.{part}." in name for part in range(2) for name in names[part])
    assert len(names[0]) == len(names[1]) == 7
    with pytest.raises(InputError, match="in 3 parts, and the model has 2 layers"):
        part_of_depth(0, 3)(work)
