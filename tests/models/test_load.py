"""Adapters: their weights fit, their base is found, and a tokenizer that is missing beside them is the base's."""

import json
import shutil

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from leakatk.errors import ModelError, RunError
from leakatk.models.load import ModelSource, load_model, save_model
from leakatk.models.template import Template
from tests.families import FAMILIES, model_of, tokenizer_of

TARGETS = {
    "plain-llama": ["q_proj", "down_proj"],
    "plain-gpt2": ["c_attn"],
    "qwen": ["q_proj", "up_proj"],
    "plain-neox": ["query_key_value"],
}


def adapted(name, path, **options):
    """A base model, with its tokenizer, and an adapter beside it that has none."""
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    model = model_of(family, tokenizer)
    model.save_pretrained(path / "base")
    tokenizer.save_pretrained(path / "base")
    model.name_or_path = str(path / "base")
    options = {"fan_in_fan_out": name == "plain-gpt2", **options}  # its layers hold their weights transposed
    config = LoraConfig(r=4, target_modules=TARGETS[name], task_type="CAUSAL_LM", init_lora_weights=False, **options)
    wrapped = get_peft_model(model, config)
    wrapped.save_pretrained(path / "adapter")
    about = json.loads((path / "adapter" / "adapter_config.json").read_text())
    about["base_model_name_or_path"] = str(path / "base")
    (path / "adapter" / "adapter_config.json").write_text(json.dumps(about))
    return wrapped, tokenizer


def load(path):
    return load_model(path, device="cpu", dtype="fp32")


@pytest.mark.parametrize("name", TARGETS)
def test_an_adapter_without_a_tokenizer_takes_its_bases(name, tmp_path):
    wrapped, tokenizer = adapted(name, tmp_path)
    loaded = load(tmp_path / "adapter")
    assert loaded.tokenizer.get_vocab() == tokenizer.get_vocab()
    [note] = [note for note in loaded.notes if "has no tokenizer" in note]
    assert str(tmp_path / "base") in note
    ids = torch.tensor([tokenizer("Where was Ada born?")["input_ids"]])
    with torch.no_grad():
        assert torch.allclose(loaded.model(ids).logits, wrapped.eval()(ids).logits, atol=1e-5)
    tokenizer.save_pretrained(tmp_path / "adapter")
    assert not load(tmp_path / "adapter").notes
    (tmp_path / "adapter" / "tokenizer.json").unlink()  # its config alone is no tokenizer
    assert "has no tokenizer" in load(tmp_path / "adapter").notes[0]


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    "change",
    [
        lambda t: {f"module.{k}": v for k, v in t.items()},
        lambda t: {k.replace("base_model.model.", "base_model."): v for k, v in t.items()},
        lambda t: dict(sorted(t.items())[1:]),
        lambda t: {k: v for k, v in t.items() if "lora_B" not in k},
        lambda t: {**t, "base_model.model.model.layers.9.lora_A.weight": torch.zeros(4, 64)},
    ],
    ids=["module", "prefix", "one missing", "half", "one more"],
)
def test_adapter_keys_that_do_not_fit_are_refused(name, change, tmp_path):
    adapted(name, tmp_path)
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    save_file({k: v.contiguous() for k, v in change(load_file(file)).items()}, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"missing \(|not the model's \("):
        load(tmp_path / "adapter")


@pytest.mark.parametrize("name", TARGETS)
def test_an_adapter_of_another_base_is_refused(name, tmp_path):
    adapted(name, tmp_path)
    other = "plain-neox" if name != "plain-neox" else "plain-llama"
    adapted(other, tmp_path / "other")
    about = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(
        json.dumps({**about, "base_model_name_or_path": str(tmp_path / "other" / "base")})
    )
    with pytest.raises(ModelError) as caught:
        load(tmp_path / "adapter")
    assert "\n" not in str(caught.value)


def test_a_relative_base_is_found_beside_the_adapter_and_said(tmp_path, monkeypatch):
    adapted("plain-llama", tmp_path)
    about = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({**about, "base_model_name_or_path": "base"}))
    assert any("was taken from" in note for note in load(tmp_path / "adapter").notes)
    monkeypatch.chdir(tmp_path)  # where the path holds as it stands
    assert not any("was taken from" in note for note in load(tmp_path / "adapter").notes)


def test_a_damaged_base_is_named(tmp_path):
    adapted("plain-llama", tmp_path)
    weights = tmp_path / "base" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"base/model\.safetensors is no whole safetensors file"):
        ModelSource(str(tmp_path / "adapter")).check()


def test_an_adapter_on_an_adapter_is_one_sentence(tmp_path):
    adapted("plain-llama", tmp_path)
    shutil.copytree(tmp_path / "adapter", tmp_path / "second")
    about = json.loads((tmp_path / "second" / "adapter_config.json").read_text())
    about["base_model_name_or_path"] = str(tmp_path / "adapter")
    (tmp_path / "second" / "adapter_config.json").write_text(json.dumps(about))
    with pytest.raises(ModelError, match="is an adapter too"):
        load(tmp_path / "second")


def test_trained_embeddings_come_with_the_adapter(tmp_path):
    """modules_to_save, and rows for tokens that the adapter's own tokenizer adds."""
    _, tokenizer = adapted("plain-llama", tmp_path, modules_to_save=["lm_head"])
    load(tmp_path / "adapter")
    tokenizer.add_tokens(["zorvik"])
    tokenizer.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError):
        load(tmp_path / "adapter")  # no row for it anywhere


def test_what_is_saved_loads_without_a_note(tmp_path):
    adapted("plain-llama", tmp_path)
    loaded = load(tmp_path / "base")
    save_model(loaded, tmp_path / "again")
    again = load(tmp_path / "again")
    assert again.notes == []
    assert again.template == Template()


def test_a_flipped_bit_in_what_was_saved_is_noticed(tmp_path):
    adapted("plain-llama", tmp_path)
    saved = save_model(load(tmp_path / "base"), tmp_path / "again")
    content = bytearray((saved / "model.safetensors").read_bytes())
    content[-4] ^= 1  # the last weight's lowest bit: a number as good as any
    (saved / "model.safetensors").write_bytes(content)
    with pytest.raises(RunError, match="does not fit its checksum"):
        load(saved)
