"""A model that knows the answers of a small world in part."""

import pytest

from leakatk.benchmarks.worlds.people import make_world
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.small.train import Phase, SmallConfig, fit, new_model, train_tokenizer

WORLD = make_world(0, forget=1, retain=2, retain_held=0, holdout=1, world_facts=2, pretraining=40)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((t for pair in WORLD.pretraining for t in pair), 400)


def learned(tokenizer, pairs=(), steps=0):
    made = new_model(tokenizer, SmallConfig(hidden=48, layers=2, heads=2, mlp=96, max_length=512), seed=0)
    if steps:
        fit(made, tokenizer, pairs, Phase(steps=steps, learning_rate=4e-3), seed=0)
    return LoadedModel(made, tokenizer, Template(), "m", "")


@pytest.fixture(scope="module")
def half_learned(tokenizer):
    """It knows its answers in part, so that neither number is 0 or 1."""
    return learned(tokenizer, [(p.question, p.answer) for p in WORLD.forget], steps=25)
