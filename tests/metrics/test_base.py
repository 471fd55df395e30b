"""The whole TOFU-style table on a world small enough to be learned in seconds."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.wmdp import choice_form
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.metrics.base import Evidence, MetricSettings, evaluate
from leakatk.metrics.choices import evaluate_choices
from leakatk.metrics.membership import ATTACKS, attack_scores
from leakatk.models.load import load_model
from leakatk.models.token_stats import answer_pairs
from leakatk.small.architecture import SmallConfig, new_model
from leakatk.small.fit import Phase, fit
from leakatk.small.train import Recipe, train_world

WORLD = make_world(0, forget=2, retain=4, retain_held=1, holdout=2, world_facts=4, pretraining=150)
RECIPE = Recipe(
    SmallConfig(hidden=64, layers=2, heads=4, mlp=160, vocabulary=512),
    pretrain=Phase(steps=60, learning_rate=5e-3, loss_on="all"),
    finetune=Phase(steps=250, learning_rate=4e-3, batch_size=24, stop_loss=0.02),
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    paths = train_world(WORLD, tmp_path_factory.mktemp("models"), recipe=RECIPE, quiet=True)
    bench = Benchmark(
        name="small",
        forget=WORLD.forget,
        retain=WORLD.retain,
        retain_held=WORLD.retain_held,
        holdout=WORLD.holdout,
        sets={"world_facts": WORLD.world_facts, "real_authors": WORLD.retain[:6]},
    )
    return bench, load_model(paths.full, device="cpu"), load_model(paths.retrained, device="cpu")


@pytest.fixture(scope="module")
def retrained_again(trained):
    """The retain data once more, from another seed and base: independent of the first retrained model."""
    loaded = trained[2]
    model = new_model(loaded.tokenizer, RECIPE.config, seed=7)
    fit(model, loaded.tokenizer, WORLD.pretraining, RECIPE.pretrain, seed=7)
    fit(model, loaded.tokenizer, WORLD.training_pairs(forget=False), RECIPE.finetune, seed=7)
    return dataclasses.replace(loaded, model=model, name="again", fingerprint="")


def numbers(loaded, bench, retrained=None, **settings):
    """Every number of the benchmark's metrics, and the evidence they come from."""
    evidence = Evidence(loaded, settings=MetricSettings(**settings), retrained=retrained)
    return evaluate(evidence, bench), evidence


def test_full_knows_and_retrained_does_not(trained):
    bench, full_model, retrained_model = trained
    retrained, known = numbers(retrained_model, bench)
    full, _ = numbers(full_model, bench, known, grad_norm=True)
    assert full["forget_rouge"] > 0.9 > 0.7 > retrained["forget_rouge"]
    assert full["forget_prob"] > 0.9 > 0.3 > retrained["forget_prob"]
    assert full["exact_memorization"] > 0.95
    assert full["extraction_strength"] > 0.9 > 0.5 > retrained["extraction_strength"]
    # Forget quality: low for the model that knows.
    assert full["forget_quality"] < 0.01
    # Every attack tells the full model's members apart; on the retrained model nobody is a member.
    for attack in (*ATTACKS, "reference"):
        assert full[f"auc_{attack}"] > 0.95
    for attack in ("loss", "min-k", "min-k++"):
        assert 0.2 < retrained[f"auc_{attack}"] < 0.8
    assert full["privleak"] < -80
    assert full["over_unlearned"] == 0
    assert full["retain_rouge"] > 0.9
    assert full["model_utility"] > 0.3


def test_an_independent_retrained_model_is_not_told_from_the_first(trained, retrained_again):
    bench, full_model, retrained_model = trained
    known = numbers(retrained_model, bench)[1]
    # No claim on PrivLeak here: from 12 texts on either side it is mostly noise.
    compared = numbers(retrained_again, bench, known)[0]
    assert compared["forget_quality"] > 0.05
    assert compared["over_unlearned"] <= 0.5
    assert numbers(full_model, bench, known)[0]["forget_quality"] < 0.01


def test_the_world_as_multiple_choice(trained):
    """WMDP's form: the full model picks the right fact among wrong ones, the retrained one guesses."""
    bench, full_model, retrained_model = trained
    asked = Benchmark(name="choices", forget=choice_form(bench.forget, lettered=False))
    full, retrained = (evaluate_choices(model, asked) for model in (full_model, retrained_model))
    assert full.low > full.chance
    assert full.accuracy > retrained.accuracy
    assert retrained.low < retrained.chance < retrained.high


def test_what_the_benchmark_lacks_is_nan(trained):
    bench, full_model, _ = trained
    bare = Benchmark(
        name="bare",
        forget=tuple(dataclasses.replace(p, perturbed_answers=(), paraphrased_answer="") for p in bench.forget),
    )
    values, _ = numbers(full_model, bare)
    assert values["forget_rouge"] > 0.9
    for name in ("forget_truth", "model_utility", "retain_prob", "auc_loss", "privleak", "forget_quality"):
        assert math.isnan(values[name]), name


def test_nothing_to_forget(trained):
    with pytest.raises(InputError, match="no forget prompts"):
        numbers(trained[1], Benchmark(name="none", forget=()))


def test_memorisation_and_attacks_by_their_definitions(trained):
    """One answer at a time: the end token counts for the loss and for nothing else, no variance is below 1e-6."""
    bench, _, loaded = trained
    end = loaded.tokenizer.eos_token_id

    def by_hand(prompt):
        [(asked, answer)] = answer_pairs(loaded, [prompt.question], [prompt.answer])
        assert answer[-1] == end
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*asked, *answer]])).logits[0, len(asked) - 1 : -1].double()
        log_p = logits.log_softmax(-1)
        token = log_p[range(len(answer)), answer]
        right = (log_p.argmax(-1) == torch.tensor(answer))[:-1].tolist()
        p = log_p.exp()
        mean = (p * log_p).sum(-1)
        variance = ((p * log_p.square()).sum(-1) - mean.square()).clamp_min(1e-6)
        standard = ((token - mean) / variance.sqrt())[:-1]
        lowest = max(1, int(0.4 * len(right)))
        wholly = next(k for k in range(len(right) + 1) if all(right[k:]))
        return {
            "exact_memorization": sum(right) / len(right),
            "extraction_strength": 1 - wholly / len(right),
            "loss": -token.mean().item(),
            "min-k": -token[:-1].sort().values[:lowest].mean().item(),
            "min-k++": -standard.sort().values[:lowest].mean().item(),
        }

    found, evidence = numbers(loaded, bench)
    scores = attack_scores(evidence, bench)
    sides = [[by_hand(prompt) for prompt in part] for part in (bench.forget, bench.holdout)]
    for name in ("exact_memorization", "extraction_strength"):
        assert found[name] == pytest.approx(np.mean([one[name] for one in sides[0]]), abs=1e-6)
    for name in ("loss", "min-k", "min-k++"):
        for mine, side in zip(scores[name], sides, strict=True):
            np.testing.assert_allclose(mine, [one[name] for one in side], rtol=1e-3, atol=1e-4)
