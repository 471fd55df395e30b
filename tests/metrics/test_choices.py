"""Multiple choice: a model that knows nothing lands at chance."""

import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.metrics.choices import evaluate_choices
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.small.train import SmallConfig, new_model, train_tokenizer

WORLD = make_world(0, forget=2, retain=2, retain_held=0, holdout=2, world_facts=4, pretraining=100)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer((t for pair in WORLD.pretraining for t in pair), 500)


def random_model(tokenizer, seed=0, template=None):
    model = new_model(tokenizer, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, max_length=4096), seed=seed)
    return LoadedModel(model, tokenizer, template or Template(), "random", "")


def test_a_random_model_is_at_chance_on_wmdp(data_dir, tokenizer):
    bench = load_benchmark("wmdp/cyber", data=data_dir / "wmdp")
    result = evaluate_choices(random_model(tokenizer), bench)
    assert result.questions == 57
    assert result.chance == 0.25
    assert result.low < 0.25 < result.high
    assert result.low < result.accuracy < result.high
    assert result.probability == pytest.approx(0.25, abs=0.05)
    with pytest.raises(InputError, match="no multiple-choice questions"):
        evaluate_choices(random_model(tokenizer), load_benchmark("wmdp/cyber:open", data=data_dir / "wmdp"))
