"""A benchmark of a few prompts, and two tiny models to ask."""

import dataclasses

import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.worlds.people import make_world
from leakatk.sampling.decoding import Decoding
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer

WORLD = make_world(0, forget=1, retain=1, retain_held=1, holdout=1, world_facts=2, pretraining=30)
BENCH = Benchmark(
    name="tiny",
    forget=WORLD.forget[:3],
    retain=WORLD.retain[:2],
    retain_held=WORLD.retain_held[:2],
    holdout=WORLD.holdout[:3],
    origin="made here",
)
SHORT = Decoding(max_new_tokens=6)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    tokenizer = train_tokenizer((t for pair in WORLD.pretraining for t in pair), 300)
    config = SmallConfig(hidden=32, layers=1, heads=2, mlp=64, max_length=4096)
    for seed, name in enumerate(("forgot", "retrained")):
        save_model(new_model(tokenizer, config, seed=seed), tokenizer, folder / name)
    return folder


def few_of(name, data_dir):
    """The first few prompts and texts of a published benchmark."""
    whole = load_benchmark(name, data=data_dir / name.partition("/")[0])
    return dataclasses.replace(
        whole, forget=whole.forget[:2], retain=whole.retain[:2], sets={k: v[:2] for k, v in whole.sets.items()},
        texts={k: tuple(t[:200] for t in v[:4]) for k, v in whole.texts.items()},
    )  # fmt: skip
