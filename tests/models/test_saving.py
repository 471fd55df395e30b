"""Saving: whole or absent, the config last, codes as codes, and an adapter on codes by itself."""

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file

from leakatk.errors import ModelError
from leakatk.files import checksums
from leakatk.models import placement
from leakatk.models.load import load_model
from leakatk.models.saving import building, save_model
from leakatk.models.weights import weights_of
from tests.quantised import needs_bitsandbytes
from tests.tiny import save_tiny_model


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny", hidden=64)


def test_a_saved_model_is_whole_and_other_files_stay(path, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    loaded = load_model(path, device="cpu")
    save_model(loaded, tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / ".saving").exists()
    checksums.verify_model(tmp_path, "restore it")
    mine, theirs = weights_of(loaded.model), weights_of(load_model(tmp_path, device="cpu").model)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_the_config_comes_last(path, tmp_path, monkeypatch):
    moved, replace = [], Path.replace
    monkeypatch.setattr(Path, "replace", lambda self, to: (moved.append(Path(to).name), replace(self, to))[1])
    save_model(load_model(path, device="cpu"), tmp_path / "out")
    of_model = [name for name in moved if not name.startswith("run.")]
    assert of_model[-1] == "config.json"
    assert "model.safetensors" in of_model


def fill_half(folder):
    with building(folder / "part", folder / "out") as part:
        (part / "half").write_text("x")
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(ModelError, match="free some space or choose another place"):
        fill_half(tmp_path)
    assert not list(tmp_path.iterdir())


@needs_bitsandbytes
@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_a_quantised_model_is_saved_with_its_codes(path, bits, tmp_path):
    loaded = load_model(path, device="cpu", load_in=bits)
    again = load_model(save_model(loaded, tmp_path / "saved"), device="cpu")
    assert placement.is_quantised(again.model)
    mine, theirs = weights_of(loaded.model), weights_of(again.model)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    with pytest.raises(ModelError, match="is quantised already"):
        load_model(tmp_path / "saved", device="cpu", load_in=bits)


@needs_bitsandbytes
def test_an_adapter_on_codes_is_saved_alone_and_names_its_base(path, tmp_path):
    loaded = load_model(path, device="cpu", load_in="4bit")
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    wrapped = get_peft_model(loaded.model, config)
    save_model(loaded, tmp_path / "mine")
    wrapped.save_pretrained(tmp_path / "theirs")
    mine, theirs = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("mine", "theirs"))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert not (tmp_path / "mine" / "model.safetensors").exists()
    about = json.loads((tmp_path / "mine" / "adapter_config.json").read_text())
    assert about["base_model_name_or_path"] == str(path.resolve())
    checksums.verify_model(tmp_path / "mine", "restore it")
