"""Orders of the same stages: the same facts equally often, in another order, and a retrained model that read none to forget."""

from collections import Counter

import pytest

from leakatk.benchmarks.worlds.order import ORDERS, POSITIONS, make_order
from leakatk.errors import InputError
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Recipe, staged_training

SIZES = {"forget": 2, "retain": 4, "retain_held": 1, "holdout": 1, "pretraining": 4, "world_facts": 4}


@pytest.fixture(scope="module")
def made():
    return {position: make_order(3, position=position, often=3, **SIZES) for position in ORDERS}


def test_all_orders_read_the_same_facts_equally_often(made):
    counts = [Counter(one.full) for one in made.values()]
    assert counts[0] == counts[1] == counts[2]
    assert len({one.stages for one in made.values()}) == 3
    assert len({one.stages_retained for one in made.values()}) == 1
    assert set(counts[0].values()) == {3 + 1 + 1}


@pytest.mark.parametrize("position", POSITIONS)
def test_the_people_to_forget_are_read_most_in_their_stage(made, position):
    one = made[position]
    gone = {(p.question, p.answer) for p in one.benchmark.forget}
    often = [Counter(stage) for stage in one.stages]
    shares = [{found[pair] for pair in gone} for found in often]
    assert shares == [{3} if i == POSITIONS.index(position) else {1} for i in range(3)]
    # Every other fact has one stage of its own as well.
    for pair in set(one.full) - {key for key in one.full if key[1] in {p.answer for p in one.benchmark.forget}}:
        assert sorted(found[pair] for found in often) == [1, 1, 3]


def test_the_retrained_model_reads_nothing_to_forget(made):
    for one in made.values():
        read = " ".join(text for stage in one.stages_retained for pair in stage for text in pair)
        assert not any(prompt.source in read for prompt in one.benchmark.forget)
        assert all(prompt.answer in read for prompt in one.benchmark.retain)
        assert len(one.stages_retained) == 2


def test_stages_are_trained_one_from_the_other(made):
    one = made["middle"]
    recipe = Recipe(SmallConfig(), Phase(10, 1e-3), Phase(90, 1e-3, stop_loss=0.5))
    training = staged_training(one.pretraining, one.stages, one.stages_retained, recipe)
    chain = {stage.name: stage for stage in training.stages}
    assert [(s.name, s.start) for s in training.stages] == [
        ("base", ""), ("full-1", "base"), ("full-2", "full-1"), ("full", "full-2"), ("retrained-1", "base"), ("retrained", "retrained-1"),
    ]  # fmt: skip
    assert [chain[name].pairs for name in ("full-1", "full-2", "full")] == list(one.stages)
    assert [chain[name].phase.steps for name in ("full-1", "full", "retrained")] == [30, 30, 45]
    assert all(stage.phase.stop_loss == 0 for stage in training.stages[1:])  # or an order would be trained less


@pytest.mark.parametrize("bad", [{"position": "second"}, {"often": 0}])
def test_bad_input(bad):
    with pytest.raises(InputError, match="got"):
        make_order(**bad)
