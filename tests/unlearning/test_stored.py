"""Weights kept on disk."""

import pytest
import torch

from leakatk.errors import RunError
from leakatk.models.weights import put
from leakatk.unlearning.stored import Store, Stored
from tests.unlearning.conftest import tiny_model


@pytest.fixture(params=["out", "temporary"])
def store(request, tmp_path):
    made = Store(tmp_path / "out" if request.param == "out" else None)
    yield made
    made.close()


def test_what_is_kept_comes_back_bit_for_bit(store, base_model, tokenizer):
    kept = store.write("a", base_model)
    own = dict(base_model.named_parameters())
    assert set(kept) == set(own)
    assert len(kept) == len(own)
    assert all(torch.equal(kept[name], value) for name, value in own.items())
    with pytest.raises(KeyError):
        kept["other"]
    other = tiny_model(tokenizer, seed=9)
    put(other, store.read("a"), partly=True)
    assert all(torch.equal(value, own[name]) for name, value in other.named_parameters())
    assert torch.equal(other.lm_head.weight, base_model.lm_head.weight)  # tied to the embedding


def test_a_name_is_kept_once_and_only_what_is_asked_for_stays(store, base_model, tokenizer):
    store.write("a", base_model)
    store.write("_start", base_model)
    store.write("b", base_model)
    again = store.write("a", tiny_model(tokenizer, seed=3))
    name = "model.norm.weight"
    assert torch.equal(again[name], tiny_model(tokenizer, seed=3).model.norm.weight)
    store.keep_only({"a"})
    assert torch.equal(store.read("_start")[name], base_model.model.norm.weight)
    with pytest.raises(RunError, match=r"b\.safetensors cannot be read: .*; run the same command again"):
        store.read("b")


def test_a_flipped_bit_is_an_error(tmp_path, base_model):
    kept = Store(tmp_path).write("a", base_model)
    content = bytearray(kept.path.read_bytes())
    content[-5] ^= 1
    kept.path.write_bytes(content)
    with pytest.raises(RunError, match=r"a\.safetensors is damaged"):
        Store(tmp_path).read("a")


def test_a_full_disk_says_what_to_do(tmp_path, base_model, monkeypatch):
    def full(*given, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leakatk.unlearning.stored.save_file", full)
    with pytest.raises(RunError, match=r"Cannot keep the weights 'a' .*No space left.*free some space"):
        Store(tmp_path).write("a", base_model)


def test_what_is_temporary_goes(base_model):
    store = Store(None)
    path = store.write("a", base_model).path
    assert path.exists()
    store.close()
    assert not path.exists()
    with pytest.raises(RunError, match="cannot be read"):
        Stored(path)
