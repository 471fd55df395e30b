"""The whole TOFU-style table on a world small enough to be learned in seconds."""

import dataclasses
import math

import pytest

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.smallmodel import Phase, Recipe, SmallConfig, train_world
from leakatk.benchmarks.world import make_world
from leakatk.errors import InputError
from leakatk.evaluation.tofu import ATTACKS, evaluate
from leakatk.models import load_model


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    world = make_world(0, forget=2, retain=4, retain_held=1, holdout=2, world_facts=4, pretraining=150)
    recipe = Recipe(
        SmallConfig(hidden=64, layers=2, heads=4, mlp=160, vocabulary=512),
        pretrain=Phase(steps=60, learning_rate=5e-3, loss_on="all"),
        finetune=Phase(steps=250, learning_rate=4e-3, batch_size=24, stop_loss=0.02),
    )
    paths = train_world(world, tmp_path_factory.mktemp("models"), recipe=recipe, quiet=True)
    bench = Benchmark(
        name="small",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"world_facts": world.world_facts, "real_authors": world.retain[:6]},
    )
    return bench, load_model(paths.full, device="cpu"), load_model(paths.retrained, device="cpu")


def test_full_knows_and_retrained_does_not(trained):
    bench, full_model, retrained_model = trained
    retrained = evaluate(retrained_model, bench)
    full = evaluate(full_model, bench, retrained=retrained, reference=retrained_model, with_gradients=True)
    assert full.values["forget_rouge"] > 0.9 > 0.7 > retrained.values["forget_rouge"]
    assert full.values["forget_prob"] > 0.9 > 0.3 > retrained.values["forget_prob"]
    assert full.values["exact_memorization"] > 0.95
    assert full.values["extraction_strength"] > 0.9 > 0.5 > retrained.values["extraction_strength"]
    # Forget quality: low for the model that knows.
    assert full.values["forget_quality"] < 0.01
    # Every attack tells the full model's members apart; on the retrained model nobody is a member.
    for attack in ATTACKS:
        assert full.values[f"auc_{attack}"] > 0.95
    for attack in ("loss", "min-k", "min-k++"):
        assert 0.2 < retrained.values[f"auc_{attack}"] < 0.8
    assert full.values["privleak"] < -80
    assert full.values["over_unlearned"] == 0
    assert full.values["retain_rouge"] > 0.9
    assert full.values["model_utility"] > 0.3


def test_what_the_benchmark_lacks_is_nan(trained):
    bench, full_model, _ = trained
    bare = Benchmark(
        name="bare",
        forget=tuple(dataclasses.replace(p, perturbed_answers=(), paraphrased_answer="") for p in bench.forget),
    )
    values = evaluate(full_model, bare).values
    assert values["forget_rouge"] > 0.9
    for name in ("forget_truth", "model_utility", "retain_prob", "auc_loss", "privleak", "forget_quality"):
        assert math.isnan(values[name]), name


def test_nothing_to_forget(trained):
    with pytest.raises(InputError, match="no forget prompts"):
        evaluate(trained[1], Benchmark(name="none", forget=()))
