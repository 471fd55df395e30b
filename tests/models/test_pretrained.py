"""Known models: their facts are whole, a name stands for one artefact, and where they are kept can be chosen."""

import json
import re

import pytest

from leakatk.errors import ModelError
from leakatk.models.pretrained import MODELS, RECORD, Hub, known, located, models_directory


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_facts_are_whole(model):
    assert model.licence
    assert all(re.fullmatch("[0-9a-f]{64}", file.sha256) and file.size > 0 for file in model.files)
    assert model.weights_sha256 in {file.sha256 for file in model.files}
    assert not model.instead or MODELS[model.instead].weights_sha256 != model.weights_sha256
    if isinstance(model.source, Hub):
        assert re.fullmatch("[0-9a-f]{40}", model.source.revision), "a branch would be another model tomorrow"


def test_where_they_are_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("LEAKATK_CACHE", raising=False)
    assert models_directory() == tmp_path / ".cache" / "leakatk" / "models"
    monkeypatch.setenv("LEAKATK_CACHE", "~/elsewhere")
    assert models_directory() == tmp_path / "elsewhere" / "models"


def test_a_model_is_here_when_all_of_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKATK_CACHE", str(tmp_path))
    model = MODELS["smollm2-135m-q4_1"]
    assert known("models/mine") is None
    assert located("models/mine") == "models/mine"
    with pytest.raises(ModelError, match=r"run `leakatk fetch smollm2-135m-q4_1` \(98 MB, Apache-2\.0\)"):
        located(model.name)
    model.folder.mkdir(parents=True)
    with model.path.open("wb") as file:
        file.truncate(model.size)
    assert not model.is_here()  # the record comes last
    (model.folder / RECORD).write_text(json.dumps({"name": model.name}))
    assert model.is_here()
    assert located(model.name) == str(model.path)
    with model.path.open("wb") as file:
        file.truncate(model.size - 1)
    assert not model.is_here()
    (model.folder / RECORD).write_text("no JSON")
    assert not model.is_here()
