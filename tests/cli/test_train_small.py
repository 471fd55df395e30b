"""leakatk train-small: what is trained, what a dry run says, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

from leakatk.benchmarks.worlds.generators import GENERATORS, make_corruption
from leakatk.cli.train_small import chosen
from leakatk.errors import UnknownNameError
from leakatk.small.train import TEXT_RECIPE, corruption_training


def test_train_small(leakatk, forget, tmp_path, monkeypatch):
    """The dry run writes nothing; what is trained is not trained again; another training is refused."""
    from leakatk.small import train
    from leakatk.small.architecture import SmallConfig
    from leakatk.small.fit import Phase

    phase = Phase(steps=3, learning_rate=1e-3, batch_size=4)
    tiny = train.Recipe(SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300), phase, phase)
    monkeypatch.setattr(train, "TEXT_RECIPE", tiny)
    own = tmp_path / "own"
    own.mkdir()
    for name in ("forget.jsonl", "retain.jsonl"):
        shutil.copyfile(forget, own / name)
    common = ("train-small", "--benchmark", own, "--quiet", "--out", tmp_path / "models")
    code, out, err = leakatk(*common, "--dry-run")
    assert code == 0, err
    assert "Would train base, full, retrained from scratch" in out
    assert "9 steps in all" in out
    code, out, _ = leakatk(*common, "--dry-run", "--json")
    assert json.loads(out)["steps"] == 9
    assert not (tmp_path / "models").exists()
    code, out, err = leakatk(*common, "--json")
    assert code == 0, err
    models = {name: json.loads(out)[name] for name in ("full", "retrained")}
    assert all((Path(place) / "config.json").exists() for place in models.values())
    assert (tmp_path / "models" / "forget.jsonl").exists()
    monkeypatch.setattr(train, "fit", None)
    assert leakatk(*common)[0] == 0
    code, _, err = leakatk(*common, "--seed", "1")
    assert code == 2
    assert "made otherwise" in err
    code, _, err = leakatk("train-small", "--benchmark", own, "--out", own)
    assert code == 2
    assert "not empty" in err
    assert not (own / "config.toml").exists()


@pytest.mark.parametrize("name", ["world", "contracts", "multi-hop", "frequency"])
def test_a_generated_world_is_trained_with_and_without_what_is_to_be_forgotten(name):
    found, training = chosen(name, None, 20, 2, seed=3)
    made = GENERATORS[name](3)
    assert found == made.benchmark
    stages = {stage.name: stage for stage in training.stages}
    assert set(stages) == {"base", "full", "retrained"}
    assert set(stages["full"].pairs) == set(made.full)
    assert set(stages["retrained"].pairs) == set(made.retained)
    told = {prompt.answer for prompt in found.forget}
    assert told <= {answer for _, answer in stages["full"].pairs}
    assert not {(p.question, p.answer) for p in found.forget} & set(stages["retrained"].pairs)
    assert chosen(name, None, 20, 2, seed=4)[0] != found


def test_a_corrupted_world_says_the_lie_after_the_truth():
    found, training = chosen("corruption", None, 20, 2, seed=0)
    made = make_corruption(0)
    assert found == made.benchmark
    assert training == corruption_training(made)
    assert [stage.name for stage in training.stages][-1] == "corrupted"


def test_files_of_ones_own_are_trained_as_text(forget, tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    for name in ("forget.jsonl", "retain.jsonl"):
        shutil.copyfile(forget, own / name)
    found, training = chosen(str(own), None, 20, 2, seed=0)
    assert [prompt.id for prompt in found.forget] == ["p0", "p1", "p2"]
    assert training.config == TEXT_RECIPE.config
    with pytest.raises(UnknownNameError, match="world"):
        chosen("wrold", None, 20, 2, seed=0)


def test_tofu_of_more_authors_takes_more_steps(data_dir):
    few, many = (chosen("tofu", str(data_dir / "tofu"), authors, 2, seed=0)[1] for authors in (5, 60))
    assert [stage.phase.steps for stage in many.stages][-1] == 3 * [stage.phase.steps for stage in few.stages][-1]
