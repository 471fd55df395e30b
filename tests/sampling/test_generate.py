import re

import numpy as np
import pytest
import torch
from transformers import BartConfig, GenerationConfig, Lfm2Config, LogitsProcessor, MambaConfig, RwkvConfig

from leakatk.errors import InputError, ModelError
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler
from tests.sampling import models
from tests.sampling.checks import (
    PROMPTS,
    answers,
    check_first_two_tokens,
    check_same,
    collect,
    every_decoding,
    forced,
    stored,
)
from tests.sampling.models import FAMILIES, tiny

_SPECIAL = {"vocab_size": models.VOCABULARY, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
RECURRENT = {
    "mamba": lambda: MambaConfig(**_SPECIAL, hidden_size=32, state_size=8, num_hidden_layers=2),
    "lfm2": lambda: Lfm2Config(
        **_SPECIAL, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, layer_types=["conv", "full_attention"],
    ),
    "bart": lambda: BartConfig(
        **_SPECIAL, d_model=32, decoder_layers=2, decoder_attention_heads=4, decoder_ffn_dim=48, encoder_layers=2,
    ),
    "rwkv": lambda: RwkvConfig(**_SPECIAL, hidden_size=32, num_hidden_layers=2, context_length=256),
}  # fmt: skip


@pytest.fixture(autouse=True)
def recurrent(monkeypatch):
    for name, config in RECURRENT.items():
        monkeypatch.setitem(FAMILIES, name, config)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_samples_as_native(family):
    loaded, decoding = tiny(family), Decoding(max_new_tokens=12)
    found = collect(GenerateSampler(loaded, max_rows=13), decoding)
    check_same(loaded, found, collect(NativeSampler(loaded), decoding), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4


@every_decoding
def test_every_decoding_as_native(decoding):
    loaded = tiny()
    found = collect(GenerateSampler(loaded), decoding)
    check_same(loaded, found, collect(NativeSampler(loaded), decoding), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4


@pytest.mark.parametrize("family", ["mamba", "lfm2"])
def test_architectures_that_native_does_not_know(family):
    loaded, decoding = tiny(family, scale=3), Decoding(max_new_tokens=12)
    with pytest.raises(ModelError, match="Use --engine generate"):
        collect(NativeSampler(loaded), decoding)
    found = collect(GenerateSampler(loaded), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4
    check_same(loaded, collect(GenerateSampler(loaded, max_rows=7), decoding), found, decoding)


@pytest.mark.parametrize("family", ["llama", "mamba"])
@pytest.mark.parametrize("decoding", [Decoding(max_new_tokens=2), Decoding(0.7, 0.9, 30, max_new_tokens=2)])
def test_first_and_second_tokens_follow_the_softmax(family, decoding):
    loaded = tiny(family, scale=3)
    sampler = GenerateSampler(loaded, max_rows=4096)
    check_first_two_tokens(loaded, collect(sampler, decoding, range(8_000), prompts=PROMPTS[2:3]), decoding)


def test_grown_resumed_and_split_runs_agree():
    loaded, decoding = tiny("mamba", scale=4), Decoding(max_new_tokens=8)
    whole = collect(GenerateSampler(loaded), decoding, range(30))
    parts = collect(GenerateSampler(loaded, max_rows=5), decoding, range(11))
    parts |= collect(GenerateSampler(loaded), decoding, range(11, 30), prompts=PROMPTS[::-1])
    assert parts.keys() == whole.keys()
    check_same(loaded, parts, whole, decoding)
    assert answers(collect(GenerateSampler(loaded), decoding, range(30), seed=4)) != answers(whole)


def test_nothing_of_the_models_generation_config_applies_and_it_is_left_as_it_was():
    loaded, decoding = tiny(), Decoding(max_new_tokens=12)
    base = answers(collect(GenerateSampler(loaded), decoding))
    mine = GenerationConfig(
        do_sample=True, temperature=0.1, top_k=1, repetition_penalty=3.0, bad_words_ids=[[7]], max_new_tokens=2,
        eos_token_id=2,
    )  # fmt: skip
    loaded.model.generation_config = mine
    assert answers(collect(GenerateSampler(loaded), decoding)) == base
    assert loaded.model.generation_config is mine


def test_an_adapter_is_sampled_and_keeps_its_generation_config():
    from peft import LoraConfig, get_peft_model

    loaded = tiny()
    adapter = get_peft_model(loaded.model, LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    adapted = type(loaded)(adapter.eval(), loaded.tokenizer, loaded.template, "adapter", "random")
    decoding, before = Decoding(max_new_tokens=8), adapter.get_base_model().generation_config
    found = collect(GenerateSampler(adapted), decoding)
    check_same(adapted, found, collect(NativeSampler(adapted), decoding), decoding)
    assert adapter.get_base_model().generation_config is before


def test_out_of_memory_halves_the_rows_and_loses_nothing(monkeypatch):
    loaded, decoding = tiny(), Decoding(max_new_tokens=6)
    base = collect(GenerateSampler(loaded), decoding)
    real = type(loaded.model).forward
    seen = []

    def small_machine(self, *args, **kwargs):
        seen.append(len(kwargs["input_ids"]))
        if seen[-1] > 10:
            raise torch.OutOfMemoryError("out of memory")
        return real(self, *args, **kwargs)

    monkeypatch.setattr(type(loaded.model), "forward", small_machine)
    found = collect(GenerateSampler(loaded, max_rows=64), decoding)
    assert max(seen) > 10 >= seen[-1]
    monkeypatch.undo()
    check_same(loaded, found, base, decoding)


def test_a_model_that_generates_wrongly_in_batches_is_refused():
    """transformers' RWKV mixes up the rows' states; one row at a time is right."""
    loaded, decoding = tiny("rwkv"), Decoding(max_new_tokens=8)
    with pytest.raises(ModelError, match=re.escape("Use --engine generate:max_rows=1")):
        collect(GenerateSampler(loaded), decoding)
    found = collect(GenerateSampler(loaded, max_rows=1), decoding, range(3))
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4


def test_an_architecture_that_native_does_not_follow_is_refused():
    """Bart's decoder counts positions by itself, which left padding shifts."""
    loaded, decoding = tiny("bart"), Decoding(max_new_tokens=12)
    with pytest.raises(ModelError, match=r"does not follow BartForCausalLM: .* Use --engine generate"):
        collect(NativeSampler(loaded), decoding)
    found = collect(GenerateSampler(loaded), decoding)
    assert np.abs(stored(found) - forced(loaded, found, decoding)).max() < 1e-4


def test_a_wrong_distribution_is_seen(monkeypatch):
    """The check of the first batch, with a processor of the model's own that changes what is drawn from."""

    class Tilt(LogitsProcessor):
        def __call__(self, input_ids, scores):
            return scores * 0.2

    loaded = tiny()
    real = type(loaded.model).generate

    def tilted(self, *args, logits_processor, **kwargs):
        return real(self, *args, logits_processor=[Tilt(), *logits_processor], **kwargs)

    monkeypatch.setattr(type(loaded.model), "generate", tilted)
    with pytest.raises(ModelError, match="nats a token"):
        collect(GenerateSampler(loaded), Decoding(max_new_tokens=8))


def test_bad_input():
    with pytest.raises(InputError, match="max_rows"):
        GenerateSampler(tiny(), max_rows=0)
    with pytest.raises(InputError, match="256 positions"):
        collect(GenerateSampler(tiny("gpt2")), Decoding(max_new_tokens=300))
    assert collect(GenerateSampler(tiny()), Decoding(), []) == {}
