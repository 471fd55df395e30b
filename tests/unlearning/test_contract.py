"""Every method on a world that is known: it ends, it moves, and what it costs is said.

The contract: in a run with a utility floor, either the retain answers stand above the floor at the end, or the run says that they do not;
never neither. What a method forgets in a few steps is not asked here: studies/world.py is there for that.
"""

import copy
import math
from dataclasses import replace

import pytest
import torch

from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import UtilityFloorError
from leakatk.models.load import load_model
from leakatk.prompts import Known
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Recipe, train_world
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.stages import Edit
from leakatk.unlearning.stop import greedy_scores, greedy_stop
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.plain import given_models, predicted

SIZES = {"forget": 1, "retain": 2, "retain_held": 1, "holdout": 1, "pretraining": 20, "world_facts": 1}
RECIPE = Recipe(
    SmallConfig(hidden=64, layers=2, heads=2, mlp=128, vocabulary=400), Phase(10, 4e-3, loss_on="all"), Phase(160, 4e-3)
)
FLOOR, STEPS, LONGEST = 0.5, 8, 32


@pytest.fixture(scope="module")
def world():
    return make_world(0, **SIZES)


@pytest.fixture(scope="module")
def paths(world, tmp_path_factory):
    return train_world(world, tmp_path_factory.mktemp("world"), recipe=RECIPE, quiet=True)


@pytest.fixture(scope="module")
def full(paths):
    return load_model(paths.full)


def known(method, paths, world):
    prompts = [*world.forget, *world.retain]
    return Known(
        auxiliary={name: str(paths.retrained) for name in given_models(method)}, margins=predicted(prompts, []),
        refused=tuple(world.holdout), holdout=tuple(world.holdout), text=tuple(p.answer for p in world.world_facts),
    )  # fmt: skip


def small(name):
    """The preset for small models, with a layer and layers that two layers have, in few steps."""
    method = METHODS[name].for_small_models()
    layer = 0 if name == "unierase" else 1  # it needs one behind those that it edits
    within = {"layer": layer, "layers": 1, "align_steps": 4, "autoencoder_steps": 10}
    method = method.with_params(**{key: value for key, value in within.items() if key in method.params})
    settings = replace(
        method.settings,
        max_steps=STEPS,
        epochs=None,
        warmup_epochs=0.0,
        check_every=4,
        utility_floor=FLOOR,
        forget_batch=6,
        retain_batch=6,
    )
    return replace(method, settings=settings)


def kept(loaded, world):
    return float(greedy_scores(loaded, world.retain, "fact", max_new_tokens=LONGEST).mean())


def run(method, full, paths, world):
    """(whether the run said that utility fell below the floor, the model that it left)"""
    loaded = replace(full, model=copy.deepcopy(full.model))
    check = greedy_stop(world.forget, world.retain, "fact", forget_at_most=-1.0, max_new_tokens=LONGEST)
    try:
        done = unlearn(
            loaded, world.forget, world.retain, method, settings=method.settings, quiet=True, on_check=check,
            known=known(method, paths, world), alternates={p.id: p.perturbed_answers[0] for p in world.forget},
        )  # fmt: skip
    except UtilityFloorError:
        return True, loaded
    assert not any(math.isinf(row["grad_norm"]) for row in done.log)  # NaN: it asked for no gradient
    return False, loaded


def test_the_full_model_knows_both_sides(full, world):
    assert kept(full, world) >= 0.9
    assert float(greedy_scores(full, world.forget, "fact", max_new_tokens=LONGEST).mean()) >= 0.9


@pytest.mark.parametrize("name", [name for name in METHODS if name != "retrain"])
def test_a_run_with_a_floor_keeps_what_it_must_or_says_so(name, full, paths, world):
    said, left = run(small(name), full, paths, world)
    assert any(not torch.equal(value, full.model.get_parameter(key)) for key, value in left.model.named_parameters())
    assert said or kept(left, world) >= FLOOR, "utility was destroyed, and nothing was said"


@pytest.mark.parametrize("name", ["task-vector", "uipe", "graddiff"])
def test_weights_that_a_method_destroys_at_its_very_end_are_seen(name, full, paths, world):
    """All weights set to what they are not after the last step; in a method that trains last as well as in one that edits last."""
    method = small(name)
    broken = Edit(lambda work, now, params: {key: torch.zeros_like(value) for key, value in now.items()})
    said, left = run(replace(method, stages=(*method.stages, broken)), full, paths, world)
    assert said
    assert kept(left, world) < FLOOR


def test_the_check_of_what_comes_out_is_recorded(full, world):
    loaded, method = replace(full, model=copy.deepcopy(full.model)), small("task-vector")
    check = greedy_stop(world.forget, world.retain, "fact", max_new_tokens=LONGEST)
    done = unlearn(
        loaded,
        world.forget,
        world.retain,
        method,
        settings=replace(method.settings, utility_floor=0.0, max_steps=1),
        quiet=True,
        on_check=check,
    )
    assert [row.get("after_edits") for row in done.checks] == [None, 1.0]
    assert done.checks[-1]["utility"] == pytest.approx(kept(loaded, world))
