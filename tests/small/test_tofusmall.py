import pytest

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.errors import InputError
from leakatk.metrics.greedy import native_greedy
from leakatk.models.load import load_model
from leakatk.scorers.base import get_scorer
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.tofusmall import TOFU_RECIPE, recipe_for, tofu_small
from leakatk.small.train import Recipe, save_benchmark, train_pair

PHASE = Phase(steps=2, learning_rate=1e-3, batch_size=4)
TINY = Recipe(SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=400), PHASE, PHASE)


def trained(made, out, recipe):
    models = train_pair(made.pretraining, made.full, made.retained, out, recipe, quiet=True)
    save_benchmark(made.benchmark, out)
    return models


def test_splits_and_files(data_dir, tmp_path):
    made = tofu_small(data_dir / "tofu", authors=7, forget_authors=2)
    small, models = made.benchmark, trained(made, tmp_path, TINY)
    assert (len(small.forget), len(small.retain), len(small.retain_held)) == (40, 80, 20)
    assert [p.id for p in small.forget] == [f"tofu-{i}" for i in range(3960, 4000)]
    assert not {p.source for p in small.retain} & {p.source for p in small.retain_held}
    own = load_benchmark(str(tmp_path))
    for split in ("forget", "retain", "retain_held", "holdout"):
        assert getattr(own, split) == getattr(small, split)
    assert len(own.refusals) == 100
    for path in (models.base, models.full, models.retrained):
        assert load_model(path, device="cpu").model.num_parameters() > 0


@pytest.mark.parametrize(("sizes", "word"), [((20, 3), "forget_authors"), ((2, 2), "authors"), ((201, 2), "200")])
def test_bad_sizes(sizes, word):
    with pytest.raises(InputError, match=word):
        tofu_small(None, authors=sizes[0], forget_authors=sizes[1])


def test_more_authors_get_more_steps():
    assert recipe_for(5) == recipe_for(20) == TOFU_RECIPE
    assert recipe_for(60).finetune.steps == 3 * TOFU_RECIPE.finetune.steps


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_real_text_is_memorised_by_the_full_model_only(data_dir, tmp_path):
    made = tofu_small(data_dir / "tofu")
    small, models = made.benchmark, trained(made, tmp_path, recipe_for(20))
    rouge = {
        name: get_scorer("rouge-l")
        .score(small.forget, native_greedy(load_model(path, device="cpu"), small.forget))
        .mean()
        for name, path in (("full", models.full), ("retrained", models.retrained))
    }
    assert rouge["full"] > 0.95
    assert rouge["retrained"] < 0.3
