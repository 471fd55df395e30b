import json
import shutil
from itertools import pairwise

import numpy as np
import pytest
import torch

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.worlds.generators import make_corruption
from leakatk.errors import ModelError, RunError
from leakatk.metrics.greedy import native_greedy
from leakatk.models.load import load_model
from leakatk.scorers.base import get_scorer
from leakatk.small import train as training
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Recipe, Stage, Training, corruption_training, save_benchmark, train, train_world
from leakatk.workdir import contents
from tests.small.conftest import TINY


def test_train_world_writes_three_checkpoints(world, tmp_path):
    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    paths = train_world(world, tmp_path / "models", recipe=Recipe(TINY, phase, phase), quiet=True)
    weights = [load_model(path, device="cpu").model.state_dict() for path in (paths.base, paths.full, paths.retrained)]
    names = list(weights[0])
    assert all(any(not torch.equal(a[n], b[n]) for n in names) for a, b in pairwise(weights))
    assert json.loads((paths.full / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert not [p for p in (tmp_path / "models").iterdir() if p.name.startswith(".")]
    again = train_world(world, tmp_path / "again", recipe=Recipe(TINY, phase, phase), quiet=True)
    assert (again.full / "model.safetensors").read_bytes() == (paths.full / "model.safetensors").read_bytes()


def test_a_stage_that_cannot_be_written_ends_the_others(world, tmp_path, monkeypatch):
    """So does Ctrl-C: the thread of the other stage stops at its next step."""
    real, steps = training.save_model, 100_000

    def full_disk(model, tokenizer, out):
        if out.name == "full":
            raise ModelError("no room")
        return real(model, tokenizer, out)

    monkeypatch.setattr(training, "save_model", full_disk)
    short, endless = (Phase(steps=n, learning_rate=1e-3, batch_size=4) for n in (3, steps))
    pairs = tuple(world.training_pairs(forget=True)[:8])
    stages = (
        Stage("base", pairs, short),
        Stage("full", pairs, short, "base"),
        Stage("retrained", pairs, endless, "base"),
    )
    with pytest.raises(ModelError, match="no room"):
        train(Training(stages, TINY), tmp_path, quiet=True)
    assert contents(tmp_path) == {"base", "training.json"}


def test_what_is_finished_is_not_trained_again(world, tmp_path):
    """Stopped after the base, the same call trains the other two, to the same weights; another one is refused."""
    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    recipe = Recipe(TINY, phase, phase)
    paths = train_world(world, tmp_path, recipe=recipe, quiet=True)
    before = {path: (path / "model.safetensors").read_bytes() for path in (paths.full, paths.retrained)}
    made = (paths.base / "model.safetensors").stat().st_mtime_ns
    for path in before:
        shutil.rmtree(path)
    train_world(world, tmp_path, recipe=recipe, quiet=True)
    assert (paths.base / "model.safetensors").stat().st_mtime_ns == made
    assert {path: (path / "model.safetensors").read_bytes() for path in before} == before
    with pytest.raises(RunError, match=r"made otherwise .other prompts, sizes or seed"):
        train_world(world, tmp_path, seed=1, recipe=recipe, quiet=True)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "forget.jsonl").write_text("mine")
    with pytest.raises(RunError, match="not empty"):
        train_world(world, tmp_path / "own", recipe=recipe, quiet=True)
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["forget.jsonl"]


def test_a_damaged_start_is_no_start(world, tmp_path):
    phase = Phase(steps=1, learning_rate=1e-3, batch_size=4)
    pairs = tuple(world.training_pairs(forget=True)[:4])
    stages = (Stage("base", pairs, phase), Stage("full", pairs, phase, "base"))
    training = Training(stages, TINY, retrained="full")
    weights = train(training, tmp_path, quiet=True).base / "model.safetensors"
    shutil.rmtree(tmp_path / "full")
    content = bytearray(weights.read_bytes())
    content[-4] ^= 1  # the last weight's lowest bit: it loads as well as before
    weights.write_bytes(content)
    with pytest.raises(RunError, match="does not fit its checksum"):
        train(training, tmp_path, quiet=True)
    weights.unlink()  # what the sentence says: then they are made again
    train(training, tmp_path, quiet=True)
    assert weights.exists()


def test_corruption_end_to_end(tmp_path):
    """RESTOR: the corrupted model says the lie where the clean one said the truth."""
    made = make_corruption(0, forget=1, retain=3, retain_held=0, holdout=0, world_facts=0, pretraining=120)
    recipe = Recipe(
        SmallConfig(hidden=64, layers=2, heads=4, mlp=160, vocabulary=400),
        pretrain=Phase(steps=60, learning_rate=5e-3, loss_on="all"),
        finetune=Phase(steps=200, learning_rate=4e-3, batch_size=16, stop_loss=0.02),
    )
    paths = train(corruption_training(made, recipe), tmp_path, quiet=True)
    save_benchmark(made.benchmark, tmp_path)
    lies, truths = made.benchmark.forget, made.benchmark.sets["original"]
    said = {
        path.name: native_greedy(load_model(path, device="cpu"), truths, 40) for path in (paths.full, paths.retrained)
    }

    def right(name, prompts):
        return np.mean(get_scorer("rouge-l").score(prompts, said[name]) == 1)

    assert right("clean", truths) > 0.9 > 0.3 > right("clean", lies)
    assert right("corrupted", lies) > 0.9 > 0.3 > right("corrupted", truths)
    own = load_benchmark(str(tmp_path))
    assert (own.forget, own.sets["original"]) == (lies, truths)
