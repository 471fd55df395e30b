"""leakatk train-small: what is trained, what a dry run says, and what is refused."""

import json
import shutil
from pathlib import Path


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
