"""A world of a few people, and the tokenizer of its texts."""

import pytest

from leakatk.benchmarks.worlds.people import make_world
from leakatk.small.architecture import SmallConfig, train_tokenizer

TINY = SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=400)


@pytest.fixture(scope="module")
def world():
    return make_world(0, forget=1, retain=2, retain_held=1, holdout=1, world_facts=2, pretraining=40)


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer((t for pair in world.pretraining for t in pair), 400)
