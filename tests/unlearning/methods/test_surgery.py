"""Methods whose mark is how they step: with it turned off, another model comes out; without masks no entry moves that may not."""

import copy
from dataclasses import replace

import pytest
import torch

from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.stages import Train
from leakatk.unlearning.trainer import unlearn

SHORT = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4)
# Method -> what is turned off.
OFF = {
    "ngdiff-auto": {"rate_every": 0},
    "uno": {"penalty": 0.0},
    "uno-s": {"surgery": False},
    "ofmu": {"penalty": 0.0},
    "mudman": {"adversary_rate": 0.0},
    "npo-zeroth": {"queries": 1},
    "npo-hybrid": {"hybrid": 0},
}
MORE = [
    ("ofmu", {"similarity": 0.0}),
    ("ofmu", {"inner_steps": 0}),
    ("mudman", {"momentum": 0.0}),
    ("mudman", {"fork_every": 2}),
    ("mudman", {"retain_rate": 0.0}),
]


def after(loaded, base_model, forget, retain, method, **settings):
    mine = replace(loaded, model=copy.deepcopy(base_model))
    unlearn(mine, forget, retain, method, settings=replace(SHORT, **settings), quiet=True)
    return dict(mine.model.named_parameters())


def same(left, right):
    return all(torch.equal(value, right[name]) for name, value in left.items())


def method_of(name):
    small = {"npo-hybrid": {"hybrid": 2}, "ngdiff-auto": {"rate_every": 1}}
    return METHODS[name].for_small_models().with_params(**small.get(name, {}))


@pytest.mark.parametrize(("name", "off"), [*OFF.items(), *MORE])
def test_what_is_distinctive_changes_the_model(name, off, loaded, base_model, forget, retain):
    mine = after(loaded, base_model, forget, retain, method_of(name))
    changed = METHODS[name].for_small_models().with_params(**off)
    assert not same(mine, after(loaded, base_model, forget, retain, changed))
    assert same(mine, after(loaded, base_model, forget, retain, method_of(name)))


def test_signs_alone(loaded, base_model, forget, retain):
    start = dict(base_model.named_parameters())
    found = after(loaded, base_model, forget, retain, method_of("npo-sign"), max_steps=1, weight_decay=0.0)
    for name, value in found.items():
        moved = (value - start[name]).abs()
        torch.testing.assert_close(moved[moved > 0], torch.full_like(moved[moved > 0], 1e-3), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["uno", "ngdiff-auto", "mudman", "npo-zeroth"])
def test_entries_that_are_not_chosen_stay(name, loaded, base_model, forget, retain):
    method = METHODS[name].for_small_models()

    def first_row(work):
        return {"model.layers.0.mlp.gate_proj.weight": torch.arange(48)[:, None] == 0}

    stages = tuple(replace(one, select=first_row) if isinstance(one, Train) else one for one in method.stages)
    start = dict(base_model.named_parameters())
    found = after(loaded, base_model, forget, retain, replace(method, stages=stages), weight_decay=0.0)
    for key, value in found.items():
        moved = (value != start[key]).reshape(len(value), -1).any(1).nonzero().flatten().tolist()
        assert moved == ([0] if "gate_proj" in key and "layers.0" in key else []), key
