"""Hooks act while their block lasts, on every way a model is computed, and embeddings change at the places they should."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.cache_utils import DynamicCache

from leakatk.errors import InputError, ModelError
from leakatk.models.hooks import changed_embeddings, hooked, matching, positions_of
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.kv_cache import cache_keyword
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.shared_prefix import recognised
from leakatk.sampling.teacher_forcing import token_logprobs
from leakatk.small.train import train_tokenizer
from tests.unlearning.conftest import people, tiny_model

FORGET = people("Fa", 4)
DECODING = Decoding(max_new_tokens=10)
IDS = torch.tensor([[5, 9, 17, 30, 8, 41, 12]])


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text for p in FORGET for text in (p.question, p.answer)], 300)


@pytest.fixture(scope="module")
def model(tokenizer):
    return tiny_model(tokenizer, 3)


@pytest.fixture(scope="module")
def loaded(model, tokenizer):
    return LoadedModel(model, tokenizer, Template(kind="plain"), "tiny", "none")


def logits(model, **given):
    with torch.inference_mode():
        return model(input_ids=IDS, **given).logits


@pytest.fixture
def left(monkeypatch):
    """(hooks put on modules since, those that are still there)."""
    handles = []

    def noting(register):
        def noted(self, *given, **options):
            handles.append(register(self, *given, **options))
            return handles[-1]

        return noted

    for name in ("register_forward_hook", "register_forward_pre_hook"):
        monkeypatch.setattr(nn.Module, name, noting(getattr(nn.Module, name)))
    return lambda: (len(handles), sum(one.id in (one.hooks_dict_ref() or {}) for one in handles))


def test_patterns_choose_modules(model):
    assert len(matching(model, "*.mlp")) == 2
    assert matching(model, "model.layers.1") == [model.model.layers[1]]
    with pytest.raises(InputError, match=r"No module of LlamaForCausalLM matches '\*\.attention'.*mlp"):
        matching(model, "*.attention")


def test_a_changed_block_is_a_zeroed_weight(model):
    """An MLP that gives nothing is one whose last weight is zero: a second way to the same model."""
    before = logits(model)
    with hooked(model, {"*.layers.1.mlp": torch.zeros_like}):
        inside = logits(model)
    weight = model.model.layers[1].mlp.down_proj.weight
    kept = weight.data.clone()
    weight.data.zero_()
    torch.testing.assert_close(inside, logits(model))
    weight.data.copy_(kept)
    assert torch.equal(before, logits(model))
    assert (inside - before).abs().max() > 1e-3


def test_a_tuple_has_its_first_part_changed():
    class Pair(nn.Module):
        def forward(self, x):
            return x, "kept"

    pair = nn.Sequential(Pair())
    with hooked(pair, {"0": lambda x: x + 1}):
        out = pair(torch.zeros(1))
    assert (out[0].item(), out[1]) == (1.0, "kept")


def test_hooks_go_whatever_ends_the_block(model, left):
    with hooked(model, {"*.mlp": lambda x: x}):
        assert left() == (2, 2)
    with pytest.raises(RuntimeError, match="inside"), hooked(model, {"*.mlp": fails}):
        logits(model)
    with pytest.raises(InputError), hooked(model, {"*.mlp": lambda x: x, "no": lambda x: x}):
        pass
    with pytest.raises(RuntimeError, match="inside"), changed_embeddings(model, fails):
        logits(model)
    put, there = left()
    assert put > 4
    assert there == 0


def fails(*given):
    raise RuntimeError("inside")


def engines(loaded):
    return [
        NativeSampler(loaded),
        NativeSampler(loaded, tree=False, max_rows=5),
        GenerateSampler(loaded, max_rows=9),
    ]


@pytest.mark.parametrize("pattern", ["*.mlp", "*.mlp.down_proj", "model.layers.0", "*.self_attn.o_proj", "lm_head"])
def test_every_engine_samples_the_hooked_model(loaded, pattern):
    """Each engine compares its log-probabilities with plain forward passes; so do we, sample by sample."""
    prompts = {p.id: loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in FORGET}
    found = []
    with hooked(loaded.model, {pattern: lambda hidden: 1.7 * hidden}):
        for engine in engines(loaded):
            made = [g for b in engine.sample([Request(p, range(6)) for p in FORGET], DECODING, seed=0) for g in b]
            for g in made:
                [steps] = token_logprobs(loaded, [(prompts[g.prompt_id], g.token_ids)], DECODING)
                assert g.logprob == pytest.approx(steps.sum(), abs=1e-4)
            found.append({(g.prompt_id, g.sample): g.token_ids for g in made})
    assert found[0] == found[1] == found[2]


# -- embeddings ----------------------------------------------------------------------------------------------------


def noise(positions, size, limit):
    """A vector for each position below the limit; nothing beyond."""
    table = torch.randn(64, size, generator=torch.Generator().manual_seed(7)) * 0.7
    table[limit:] = 0
    return table[positions]


def corrupting(limit):
    return lambda embeddings, positions: embeddings + noise(positions, embeddings.shape[-1], limit)


def by_hand(model, ids, limit):
    """Logits of one text whose first `limit` tokens have changed embeddings, as embeddings handed in."""
    with torch.inference_mode():
        made = model.get_input_embeddings()(torch.tensor([ids]))
        made = made + noise(torch.arange(len(ids))[None], made.shape[-1], limit)
        return model(inputs_embeds=made, use_cache=False).logits[0]


def gpt2(tokenizer):
    torch.manual_seed(1)
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=2, n_head=2)).eval()


# A model that is told no positions counts the padding: right for relative ones alone.
WAYS = [
    ("llama", "left"),
    *product(("llama", "gpt2"), ("whole", "left with positions", "right", "cache", "step by step")),
]


@pytest.mark.parametrize(("kind", "way"), WAYS)
def test_embeddings_change_at_the_right_tokens(model, tokenizer, left, kind, way):
    model = model if kind == "llama" else gpt2(tokenizer)
    ids, limit = IDS[0].tolist(), 4
    wanted = by_hand(model, ids, limit)
    pad, mask = torch.zeros((1, 3), dtype=torch.long), torch.ones_like(IDS)
    none = torch.zeros_like(pad)
    with torch.inference_mode(), changed_embeddings(model, corrupting(limit)):
        if way == "whole":
            found = model(input_ids=IDS).logits[0]
        elif way in ("left", "left with positions"):
            seen = torch.cat([none, mask], 1)
            places = (seen.cumsum(-1) - 1).clamp(min=0)
            given = {} if way == "left" else {"position_ids": places}
            found = model(input_ids=torch.cat([pad, IDS], 1), attention_mask=seen, **given).logits[0, 3:]
        elif way == "right":
            both = torch.cat([IDS, pad], 1)
            found = model(input_ids=both, attention_mask=torch.cat([mask, none], 1)).logits[0, :-3]
        else:
            cache, size = DynamicCache(), 3 if way == "cache" else 1
            name = cache_keyword(model)
            pieces = [
                model(input_ids=IDS[:, at : at + size], use_cache=True, **{name: cache}).logits[0]
                for at in range(0, len(ids), size)
            ]
            found = torch.cat(pieces)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    put, there = left()
    assert put > 0
    assert there == 0


def test_every_engine_reads_the_changed_prompt_and_its_own_answer(loaded):
    """The prompts share a beginning, which is computed once; only tokens before `limit` are changed, none of the answer."""
    prompts = {p.id: loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in FORGET}
    limit = min(map(len, prompts.values())) - 1
    found = []
    with changed_embeddings(loaded.model, corrupting(limit)):
        assert recognised(loaded.model) is None  # its modules are called, not gone around
        for engine in engines(loaded):
            made = [g for b in engine.sample([Request(p, range(8)) for p in FORGET], DECODING, seed=0) for g in b]
            found.append({(g.prompt_id, g.sample): g for g in made})
        forced = [token_logprobs(loaded, [(prompts[g.prompt_id], g.token_ids)], DECODING)[0] for g in found[0].values()]
    assert recognised(loaded.model) is not None
    for steps, g in zip(forced, found[0].values(), strict=True):
        ids = [*prompts[g.prompt_id], *g.token_ids]
        logp = by_hand(loaded.model, ids, limit).double().log_softmax(-1)
        begin = len(prompts[g.prompt_id])
        wanted = [float(logp[begin - 1 + i, token]) for i, token in enumerate(g.token_ids)]
        np.testing.assert_allclose(steps, wanted, atol=1e-5)
        assert g.logprob == pytest.approx(sum(wanted), abs=1e-4)
    ids = [{key: g.token_ids for key, g in one.items()} for one in found]
    assert ids[0] == ids[1] == ids[2]


def test_an_adapter_does_not_hide_the_tokens(tokenizer):
    from peft import LoraConfig, get_peft_model

    model = tiny_model(tokenizer, 3)
    adapted = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)).eval()
    loaded = LoadedModel(adapted, tokenizer, Template(kind="plain"), "adapted", "none")
    prompts = {p.id: loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in FORGET}
    limit = min(map(len, prompts.values())) - 1
    with changed_embeddings(adapted, corrupting(limit)):
        made = [
            g for b in NativeSampler(loaded).sample([Request(p, range(4)) for p in FORGET], DECODING, seed=0) for g in b
        ]
    for g in made:
        ids = [*prompts[g.prompt_id], *g.token_ids]
        logp = by_hand(adapted, ids, limit).double().log_softmax(-1)
        begin = len(prompts[g.prompt_id])
        assert g.logprob == pytest.approx(
            sum(float(logp[begin - 1 + i, token]) for i, token in enumerate(g.token_ids)), abs=1e-4
        )


def test_what_has_no_tokens_is_refused(model):
    with pytest.raises(ModelError, match="without input_ids"):
        positions_of((), {"inputs_embeds": torch.zeros(1, 2, 3)})
    with (
        pytest.raises(ModelError, match="cannot be changed"),
        changed_embeddings(nn.Linear(2, 2), corrupting(1)),
    ):
        pass
