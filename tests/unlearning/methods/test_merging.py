"""Methods that end in arithmetic on weights: what comes out is that arithmetic on the models that were trained."""

import copy
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Keep, Train
from leakatk.unlearning.trainer import unlearn

SHORT = TrainSettings(learning_rate=1e-3, max_steps=3, forget_batch=4, retain_batch=4)


def after(loaded, base_model, forget, retain, method):
    mine = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(mine, forget, retain, method, settings=SHORT, quiet=True)
    return {name: value.detach() for name, value in mine.model.named_parameters()}


@pytest.fixture
def run(loaded, base_model, forget, retain):
    return lambda method: after(loaded, base_model, forget, retain, method)


@pytest.fixture
def start(base_model):
    return {name: value.detach() for name, value in base_model.named_parameters()}


def without_edits(method):
    """Its first stage that trains, alone."""
    return replace(method, stages=method.trains[:1])


def test_uipe_goes_farther_the_same_way(run, start):
    method = METHODS["uipe"].for_small_models()
    trained, found = run(without_edits(method)), run(method)
    for name, value in found.items():
        torch.testing.assert_close(value, start[name] + 1.3 * (trained[name] - start[name]), rtol=1e-5, atol=1e-6)
    same = run(method.with_params(alpha=0.0))
    for name, value in same.items():
        torch.testing.assert_close(value, trained[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["negmerge", "zju-ties"])
def test_models_that_are_merged_differ_and_begin_at_the_start(name, run, start):
    method = METHODS[name].for_small_models()
    sides = []
    for number in range(len(method.trains)):
        stages, trained = [], -1
        for stage in method.stages:
            trained += isinstance(stage, Train)
            stages.append(stage)
            if isinstance(stage, Train) and trained == number:
                break
        sides.append(run(replace(method, stages=tuple(stages))))
        assert not isinstance(stages[-1], Keep)
    for left, right in pairwise(sides):
        assert any(not torch.equal(left[key], right[key]) for key in left)
    found = run(method)
    if name == "negmerge":
        for key, value in found.items():
            vectors = torch.stack([side[key] - start[key] for side in sides])
            agree = (vectors.sign() == vectors.sign()[0]).all(0)
            torch.testing.assert_close(
                value, start[key] - torch.where(agree, vectors.mean(0), 0.0), rtol=1e-4, atol=1e-6
            )
    else:
        moved = sum(float((value - start[key]).abs().sum()) for key, value in found.items())
        assert moved > 0
