"""GGUF: the model of a file is the model that was written, it is an ordinary one, and nothing of a file is passed over."""

import json

import numpy as np
import pytest
import torch
from gguf import GGUFReader, dequantize
from peft import LoraConfig, get_peft_model

from leakatk.errors import ModelError
from leakatk.models import gguf
from leakatk.models.gguf import gguf_file
from leakatk.models.load import ModelSource, load_model, save_model
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.ggufs import write_gguf
from tests.tiny import PROMPTS, save_tiny_model

QUESTION = "Where was Ada born, in 1984? <|endoftext|> Ünïcode"


def load(path):
    return load_model(path, device="cpu", dtype="fp32")


def ids_of(loaded):
    return loaded.template.prompt_ids(loaded.tokenizer, QUESTION)


def logits(loaded, ids):
    with torch.no_grad():
        return loaded.model(torch.tensor([ids])).logits


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("saved") / "tiny")


@pytest.fixture(scope="module")
def plain(saved):
    return write_gguf(saved, saved.parent / "plain" / "tiny.gguf")


def test_a_file_in_full_precision_is_the_model_that_was_written(saved, plain):
    written, read = load(saved), load(plain)
    assert ids_of(read) == ids_of(written)
    assert read.tokenizer.get_vocab() == written.tokenizer.get_vocab()
    assert read.end_ids == written.end_ids
    assert torch.equal(logits(read, ids_of(read)), logits(written, ids_of(written)))
    assert read.tokenizer.chat_template == written.tokenizer.chat_template
    assert not read.notes


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_1", "F16"])
def test_quantised_weights_are_those_that_the_package_unpacks(saved, kind, tmp_path):
    file = write_gguf(saved, tmp_path / "tiny.gguf", kind=kind)
    state = load(file).model.state_dict()
    tensors = {one.name: dequantize(one.data, one.tensor_type) for one in GGUFReader(file).tensors}
    for mine, theirs in (("model.embed_tokens", "token_embd"), ("model.layers.1.mlp.down_proj", "blk.1.ffn_down")):
        assert np.array_equal(state[f"{mine}.weight"].numpy(), tensors[f"{theirs}.weight"])
    if kind != "F16":  # rounding is no rounding error here
        stored = load(saved).model.state_dict()["model.embed_tokens.weight"]
        assert not torch.equal(stored, state["model.embed_tokens.weight"])


def test_the_manifest_names_the_file_its_quantisation_and_its_hash(saved, tmp_path):
    import hashlib

    file = write_gguf(saved, tmp_path / "tiny.gguf", kind="Q8_0")
    about = load(file).describe()
    assert about["weights_file"] == "tiny.gguf"
    assert about["quantisation"] == "Q8_0 (Q8_0 x 15, F32 x 5)"
    assert about["weights_sha256"] == about["fingerprint"] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_directory_with_one_file_is_that_file_and_what_lies_beside_is_not_read(saved, plain, tmp_path):
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json"):
        (plain.parent / name).write_text('{"model_type": "gpt2"}')
    try:
        loaded = load(plain.parent)
        assert ids_of(loaded) == ids_of(load(saved))
        assert loaded.fingerprint == load(plain).fingerprint
    finally:
        for file in plain.parent.glob("*.json"):
            file.unlink()
    assert gguf_file(saved) is None
    assert gguf_file(tmp_path) is None
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(plain.read_bytes())
    with pytest.raises(ModelError, match=r"holds 2 \.gguf files \(a\.gguf, b\.gguf\); give the one"):
        load(tmp_path)
    assert load(tmp_path / "b.gguf").name.endswith("b.gguf")


def test_it_is_saved_and_loaded_again_as_any_model(saved, plain, tmp_path):
    first = load(plain)
    again = load(save_model(first, tmp_path / "out"))
    assert torch.equal(logits(again, ids_of(first)), logits(first, ids_of(first)))
    assert ids_of(again) == ids_of(first)
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    assert again.describe().keys() & {"quantisation", "weights_file"} == set()


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_it_is_unlearned_as_any_model(plain, tuning, tmp_path):
    settings = TrainSettings(max_steps=2, forget_batch=2, retain_batch=2, tuning=tuning, lora_rank=4)
    unlearn(load(plain), PROMPTS[:2], PROMPTS[2:], "ga", settings=settings, out=tmp_path / "out", quiet=True)
    found = load(tmp_path / "out")
    before = load(plain)
    assert not torch.equal(logits(found, ids_of(before)), logits(before, ids_of(before)))


def test_an_adapter_trained_on_it_names_it_as_its_base(plain, tmp_path):
    before = load(plain)
    config = LoraConfig(r=4, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
    get_peft_model(load(plain).model, config).save_pretrained(tmp_path / "adapter", save_embedding_layers=False)
    found = load(tmp_path / "adapter")
    assert not torch.equal(logits(found, ids_of(before)), logits(before, ids_of(before)))
    about = found.describe()
    assert about["base_weights_sha256"] == before.fingerprint
    assert about["weights_sha256"] not in (before.fingerprint, about["fingerprint"])
    assert about["quantisation"].startswith("F32")


def refused(file, match):
    with pytest.raises(ModelError, match=match) as told:
        load(file)
    assert len(str(told.value).splitlines()) == 1
    return str(told.value)


def test_an_architecture_that_transformers_cannot_map_is_one_sentence(saved, tmp_path):
    said = refused(write_gguf(saved, tmp_path / "x.gguf", architecture="rwkv6"), "cannot map")
    assert "rwkv6" in said
    assert "safetensors" in said


def test_a_tensor_that_would_be_passed_over_is_refused(saved, tmp_path):
    extra = {"blk.0.attn_mystery.weight": np.ones((4, 32), np.float32)}
    refused(write_gguf(saved, tmp_path / "x.gguf", more=extra), "took .* of them")


def test_a_missing_tensor_is_refused(saved, tmp_path):
    refused(
        write_gguf(saved, tmp_path / "x.gguf", without="blk.1.ffn_up"), r"1 missing \(model\.layers\.1\.mlp\.up_proj"
    )


def test_positions_that_would_be_stretched_otherwise_are_refused(saved, tmp_path):
    for name, options in (
        ("tensor", {"more": {"rope_freqs.weight": np.full(8, 8, np.float32)}}),
        ("field", {"fields": {"llama.rope.scaling.type": "linear"}}),
    ):
        refused(write_gguf(saved, tmp_path / f"{name}.gguf", **options), "rope scaling")


def test_a_part_of_a_model_says_how_to_join_it(saved, tmp_path):
    refused(
        write_gguf(saved, tmp_path / "x.gguf", fields={"split.count": 3}), "one of 3 parts.*llama-gguf-split --merge"
    )


def test_sizes_that_its_tensors_do_not_have_are_refused_before_anything_is_built(saved, tmp_path):
    file = write_gguf(saved, tmp_path / "x.gguf")
    content, key = file.read_bytes(), b"llama.embedding_length"
    at = content.index(key) + len(key) + 4
    file.write_bytes(content[:at] + (1 << 31).to_bytes(4, "little") + content[at + 4 :])
    refused(file, "2,147,483,648, more than its weights hold")


def test_a_way_of_splitting_text_that_transformers_does_not_know_is_said(saved, tmp_path):
    [note] = load(write_gguf(saved, tmp_path / "x.gguf", pre="of-tomorrow")).notes
    assert "'of-tomorrow'" in note


def test_the_split_of_smollm_takes_digits_one_by_one(saved, tmp_path):
    """Two spaces before a number are one piece there, and a space and the number's in the split of GPT-2."""
    file = write_gguf(saved, tmp_path / "x.gguf", pre="smollm")
    loaded = load(file)
    assert not loaded.notes
    pieces = loaded.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("in  1984")
    assert [text for text, _ in pieces] == ["in", "ĠĠ", "1", "9", "8", "4"]


def test_without_the_package_one_sentence_says_what_to_install(plain, monkeypatch):
    monkeypatch.setattr(gguf, "is_installed", lambda name: name != "gguf")
    with pytest.raises(ModelError, match=r"pip install 'leak-at-k\[gguf\]'"):
        ModelSource(str(plain)).check()


def test_no_bar_of_another_library_is_drawn(plain, capfd):
    gguf._tokenizer.cache_clear()
    load(plain)
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


def test_a_file_that_changed_is_read_again(saved, tmp_path):
    file = write_gguf(saved, tmp_path / "x.gguf")
    first = load(file).tokenizer
    first.add_tokens(["<later>"])  # what one caller does to its tokenizer is its own
    assert "<later>" not in load(file).tokenizer.get_vocab()
