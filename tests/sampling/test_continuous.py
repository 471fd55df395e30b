import numpy as np
import pytest
from transformers import MambaConfig

from leakatk.errors import InputError, ModelError
from leakatk.sampling import continuous
from leakatk.sampling.continuous import ContinuousSampler
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from tests.sampling import models
from tests.sampling.checks import PROMPTS, check_first_two_tokens, check_same, collect, every_decoding, forced, stored
from tests.sampling.models import FAMILIES, tiny


@pytest.mark.parametrize("family", ["llama", "qwen3", "mistral", "gemma3"])
def test_the_same_samples_as_native(family):
    loaded, decoding = tiny(family), Decoding(max_new_tokens=12)
    before = loaded.model.config._attn_implementation
    found = collect(ContinuousSampler(loaded, max_rows=13), decoding, range(8))
    check_same(loaded, found, collect(NativeSampler(loaded), decoding, range(8)), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4
    assert loaded.model.config._attn_implementation == before


@every_decoding
def test_every_decoding_as_native(decoding):
    loaded = tiny()
    found = collect(ContinuousSampler(loaded), decoding, range(10))
    check_same(loaded, found, collect(NativeSampler(loaded), decoding, range(10)), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4


def test_first_and_second_tokens_follow_the_softmax():
    loaded, decoding = tiny(scale=3), Decoding(max_new_tokens=2)
    found = collect(ContinuousSampler(loaded, max_rows=128), decoding, range(4_000), prompts=PROMPTS[2:3])
    check_first_two_tokens(loaded, found, decoding)


def test_a_sample_that_had_to_make_room_goes_on_where_it_was(monkeypatch):
    """With few pages transformers puts requests back and computes them again from their answer so far."""
    loaded, decoding = tiny(), Decoding(max_new_tokens=100)
    expected = collect(NativeSampler(loaded), decoding, range(4))
    monkeypatch.setattr("leakatk.sampling.continuous.MEMORY_CPU", 0.0)
    put_back = set()

    class Seen(continuous.Choose):
        def prepare_tensor_args(self, requests):
            put_back.update(r.state.request_id for r in requests if r.state._true_initial_tokens)
            return super().prepare_tensor_args(requests)

    monkeypatch.setattr(continuous, "Choose", Seen)
    check_same(loaded, collect(ContinuousSampler(loaded, max_rows=5), decoding, range(4)), expected, decoding)
    assert put_back


def test_a_lora_adapter():
    from peft import LoraConfig, get_peft_model

    loaded, decoding = tiny(), Decoding(max_new_tokens=8)
    adapter = get_peft_model(loaded.model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted = type(loaded)(adapter.eval(), loaded.tokenizer, loaded.template, "adapter", "random")
    found = collect(ContinuousSampler(adapted), decoding, range(4))
    assert np.abs(stored(found) - forced(adapted, found, decoding)).max() < 1e-4
    with adapter.disable_adapter():
        assert np.abs(stored(found) - forced(adapted, found, decoding)).max() > 0.1


def test_stopped_early_and_started_again():
    loaded, decoding = tiny(), Decoding(max_new_tokens=8)
    sampler = ContinuousSampler(loaded, max_rows=4)
    whole = collect(sampler, decoding, range(60))
    from leakatk.sampling.base import Request

    first = next(sampler.sample([Request(prompt, range(60)) for prompt in PROMPTS], decoding, seed=3))
    check_same(loaded, {(g.prompt_id, g.sample): g for g in first}, whole, decoding)
    check_same(loaded, collect(sampler, decoding, range(2)), whole, decoding)


def test_bad_input(monkeypatch):
    special = {"vocab_size": models.VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    monkeypatch.setitem(
        FAMILIES, "mamba", lambda: MambaConfig(**special, hidden_size=32, state_size=8, num_hidden_layers=2)
    )
    with pytest.raises(ModelError, match="use --engine generate"):
        collect(ContinuousSampler(tiny("mamba")), Decoding(max_new_tokens=4))
    with pytest.raises(InputError, match="max_rows"):
        ContinuousSampler(tiny(), max_rows=0)
    assert collect(ContinuousSampler(tiny()), Decoding(), []) == {}
