"""What is checked once at load: removing any one check lets a wrong model be asked, and turns a test here red."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from leakatk.errors import InputError, ModelError
from leakatk.models.checks import check_positions, position_limit
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.models.token_stats import gradient_norms, token_stats
from leakatk.prompts import Prompt
from leakatk.sampling.base import Request, texts_of
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob, token_logprobs
from leakatk.unlearning.streams import Item, answer_logits, collate
from tests.families import FAMILIES, model_of, tokenizer_of

ARCHITECTURES = ("plain-llama", "plain-gpt2", "gemma", "phi-3", "qwen", "plain-neox", "mistral")
TIED = {"plain-gpt2", "gemma", "qwen"}


def saved(name, path):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    model = model_of(family, tokenizer)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def renamed(path, change):
    """The weights, under other names or with some left out: `change` maps a dict to a dict."""
    file = path / "model.safetensors"
    tensors = change({key: value.clone() for key, value in load_file(file).items()})
    save_file(tensors, file, metadata={"format": "pt"})


def loading(path):
    return load_model(path, device="cpu", dtype="fp32")


# -- weights -----------------------------------------------------------------------------------------------------------

RENAMED = {
    "compiled": (lambda t: {f"_orig_mod.{k}": v for k, v in t.items()}, "saved from a compiled model"),
    "parallel": (lambda t: {f"module.{k}": v for k, v in t.items()}, "DataParallel"),
    "wrapped": (lambda t: {f"model.inner.{k}": v for k, v in t.items()}, "not the model's"),
    "no embedding": (lambda t: {k: v for k, v in t.items() if not any(e in k for e in ("embed_tokens", "wte", "embed_in"))}, "missing"),
    "no norm": (lambda t: {k: v for k, v in t.items() if "norm" not in k and "ln_" not in k}, "missing"),
    "no last layer": (lambda t: {k: v for k, v in t.items() if ".1." not in k}, "."),
    "one more": (lambda t: {**t, "value_head.weight": torch.zeros(3)}, "value_head.weight"),
    "another shape": (lambda t: {k: v[..., :-8] if "down" in k or "dense_4h" in k or "mlp.c_proj.weight" in k else v for k, v in t.items()}, "."),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("way", RENAMED)
def test_weights_that_are_not_the_models_are_refused(name, way, tmp_path):
    change, says = RENAMED[way]
    path = saved(name, tmp_path / "m")
    renamed(path, lambda t: {k: v.contiguous() for k, v in change(t).items()})
    with pytest.raises(ModelError, match=says) as caught:
        loading(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_model_saved_without_its_head(name, tmp_path):
    path = saved(name, tmp_path / "m")
    renamed(path, lambda t: {k: v for k, v in t.items() if "lm_head" not in k and "embed_out" not in k})
    if name in TIED:
        loading(path)  # the head is the embedding
        return
    with pytest.raises(ModelError, match=r"1 missing \((lm_head|embed_out).weight\).*without the head"):
        loading(path)


@pytest.mark.parametrize("name", ["plain-llama", "plain-gpt2", "plain-neox"])
def test_computed_buffers_of_older_versions_are_no_weights(name, tmp_path):
    path = saved(name, tmp_path / "m")
    older = {
        "plain-llama": "model.layers.0.self_attn.rotary_emb.inv_freq",
        "plain-gpt2": "transformer.h.0.attn.masked_bias",
        "plain-neox": "gpt_neox.layers.0.attention.rotary_emb.inv_freq",
    }
    renamed(path, lambda t: {**t, older[name]: torch.ones(2)})
    loading(path)


def test_the_names_are_listed(tmp_path):
    path = saved("plain-llama", tmp_path / "m")
    renamed(path, RENAMED["compiled"][0])
    with pytest.raises(ModelError) as caught:
        loading(path)
    said = str(caught.value)
    assert "missing (lm_head.weight, model.embed_tokens.weight," in said
    assert "not the model's (_orig_mod.lm_head.weight," in said
    assert ", ...)" in said


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_are_refused_at_load(name, value, tmp_path):
    path = saved(name, tmp_path / "m")

    def spoil(tensors):
        last = sorted(k for k, v in tensors.items() if v.ndim == 2)[-1]
        tensors[last][-1, -1] = value
        return tensors

    renamed(path, spoil)
    with pytest.raises(ModelError, match="NaN or infinite"):
        loading(path)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_that_overflow_are_refused_at_load(name, tmp_path):
    """Every weight is finite, and what they make of a prompt is not."""
    path = saved(name, tmp_path / "m")
    last = ("model.norm.weight", "transformer.ln_f.weight", "gpt_neox.final_layer_norm.weight")
    renamed(path, lambda t: {k: v + 3e38 if k in last else v * 1e3 if v.ndim == 2 else v for k, v in t.items()})
    with pytest.raises(ModelError, match="NaN or infinite logits"):
        loading(path)


@pytest.mark.parametrize(
    "decoding", [Decoding(max_new_tokens=3), Decoding(temperature=0.0, max_new_tokens=3)], ids=["T=1", "greedy"]
)
@pytest.mark.parametrize("engine", [NativeSampler, GenerateSampler])
def test_logits_that_become_nan_while_sampling_are_an_error(engine, decoding, tmp_path):
    loaded = loading(saved("plain-llama", tmp_path / "m"))
    loaded.model.get_output_embeddings().weight.data[7] = float("nan")  # as after a broken unlearning step
    prompt = Prompt("a", "Who?", "Ada.")
    with pytest.raises(ModelError, match="NaN or infinite logits"):
        texts_of(engine(loaded), [prompt], 2, decoding, seed=0)
    with pytest.raises(ModelError, match="NaN or infinite logits"):
        answer_logprob(loaded, [prompt], decoding)


# -- tokenizer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_tokenizer_larger_than_the_embedding_is_refused(name, tmp_path):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    model_of(family, tokenizer).save_pretrained(tmp_path / "m")
    tokenizer.add_tokens(["zorvik"])
    tokenizer.save_pretrained(tmp_path / "m")
    with pytest.raises(ModelError, match=f"'zorvik', id {len(tokenizer) - 1}: this is not its tokenizer"):
        loading(tmp_path / "m")


@pytest.mark.parametrize("style", ["bytes", "sentencepiece", "gemma"])
def test_a_qwen_model_keeps_the_tokenizer_of_its_file(style, tmp_path):
    """transformers puts Qwen's own splitting in place of what tokenizer.json says, for this type of model."""
    family = FAMILIES["qwen"]
    tokenizer = tokenizer_of(style, family)
    model_of(family, tokenizer).save_pretrained(tmp_path / "m")
    tokenizer.save_pretrained(tmp_path / "m")
    text = "Ada Korvin was born in Zorvik in 1961."
    assert loading(tmp_path / "m").tokenizer.tokenize(text) == tokenizer.tokenize(text)


def test_a_prompt_with_an_unknown_id_is_refused():
    tokenizer = tokenizer_of("bytes")
    model = model_of(FAMILIES["plain-llama"], tokenizer)
    tokenizer.add_tokens(["zorvik"])
    loaded = LoadedModel(model, tokenizer, Template(), "m", "")
    with pytest.raises(ModelError, match="'zorvik'"):
        texts_of(
            NativeSampler(loaded), [Prompt("a", "Where is zorvik?", "Here.")], 1, Decoding(max_new_tokens=2), seed=0
        )


def test_a_start_token_that_the_template_does_not_write_is_said(tmp_path):
    notes = loading(saved("phi-3", tmp_path / "m")).notes
    assert any("writes no start token (<s>)" in note for note in notes)
    assert not loading(saved("mistral", tmp_path / "n")).notes


def test_one_end_token_or_more_or_none(tmp_path):
    path = saved("plain-llama", tmp_path / "m")
    config = json.loads((path / "generation_config.json").read_text())
    (path / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": [2, 3]}))
    assert loading(path).end_ids == {2, 3}
    (path / "generation_config.json").write_text(json.dumps({**config, "eos_token_id": [2, 10**6]}))
    with pytest.raises(ModelError, match="no row of its embedding"):
        loading(path)


# -- positions ---------------------------------------------------------------------------------------------------------


def small_positions(name, limit=48):
    family = FAMILIES[name]
    tokenizer = tokenizer_of(family.style, family)
    own = {**family.own, "max_position_embeddings": limit}
    model = model_of(dataclasses.replace(family, own=own), tokenizer)
    return LoadedModel(model, tokenizer, Template(), name, "")


def test_learned_positions_end_and_rotary_ones_are_a_note():
    learned, rotary = small_positions("plain-gpt2"), small_positions("plain-llama")
    assert position_limit(learned.model) == 48
    assert position_limit(rotary.model) is None
    prompt, decoding = Prompt("a", "Who?", "Ada."), Decoding(max_new_tokens=60)
    with pytest.raises(InputError, match="48 positions; lower max_new_tokens"):
        texts_of(NativeSampler(learned), [prompt], 1, decoding, seed=0)
    texts_of(NativeSampler(rotary), [prompt], 1, decoding, seed=0)
    assert ["beyond the 48 positions" in note for note in rotary.notes] == [True]
    with pytest.raises(InputError, match="A text has 49 tokens and the model has 48 positions"):
        check_positions(learned.model, 49, "A text")


def test_the_exact_pass_stops_at_what_can_be_generated():
    loaded = small_positions("plain-gpt2")
    prompt = Prompt("a", "Who?", "a very long answer " * 40)
    [logp] = answer_logprob(loaded, [prompt], Decoding(max_new_tokens=5))
    assert logp == -float("inf")
    seam = loaded.template.pair(loaded.tokenizer, prompt.question, prompt.answer)
    [steps] = token_logprobs(loaded, [seam[:2]], Decoding(max_new_tokens=5))
    assert len(steps) == len(seam.answer)
    assert (steps[:5] > -50).all()
    assert (steps[5:] == -float("inf")).all()


def test_a_text_longer_than_the_positions_is_one_sentence():
    loaded = small_positions("plain-gpt2")
    long = ([1] * 30, [2] * 30)
    for forced in (token_stats, gradient_norms, lambda m, p: token_logprobs(m, p, Decoding(max_new_tokens=40))):
        with pytest.raises(InputError, match="has 60 tokens and the model has 48 positions"):
            forced(loaded, [long])
    batch = collate([Item(tuple(long[0]), tuple(long[1]))], [0], torch.device("cpu"))
    with pytest.raises(InputError, match="48 positions"):
        answer_logits(loaded.model, batch)
    exactly = collate([Item((1,) * 30, (2,) * 19)], [0], torch.device("cpu"))  # the last token predicts nothing
    assert answer_logits(loaded.model, exactly).shape[1] == 19


def test_notes_reach_whoever_asks(tmp_path):
    loaded = loading(saved("phi-3", tmp_path / "m"))
    assert loaded.notes
    assert NativeSampler(loaded).notes == GenerateSampler(loaded).notes == loaded.notes
    before = list(loaded.notes)
    loaded.note(before[0])
    assert loaded.notes == before
    assert list(
        NativeSampler(loaded).sample([Request(Prompt("a", "Who?", ""), [0])], Decoding(max_new_tokens=1), seed=0)
    )
