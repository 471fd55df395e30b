"""An ensemble is one model to every reader: drawn, forced and expanded with the logits that its members' give by hand."""

import numpy as np
import pytest
import torch
from transformers import Gemma2Config, Gemma2ForCausalLM, GPT2Config, GPT2LMHeadModel

from leakatk.errors import ModelError
from leakatk.models.ensemble import Ensemble, EnsembleSource, ensemble
from leakatk.models.load import ModelSource
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.sampling.answer_tree import expand
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.engines import make_sampler
from leakatk.sampling.generate import GenerateSampler
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.teacher_forcing import answer_logprob, token_logprobs
from leakatk.small.train import train_tokenizer
from tests.tiny import PROMPTS, save_tiny_model
from tests.unlearning.conftest import people, tiny_model

FORGET = people("Fa", 4)
DECODING = Decoding(max_new_tokens=12)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([text for p in [*FORGET, *people("Re", 9, 3)] for text in (p.question, p.answer)], 300)


def difference(z, clean, dirty):
    return z + 1.5 * (clean - dirty)


def gemma(tokenizer, seed, layers):
    """Every second layer sees a window of 5 tokens: much shorter than a prompt."""
    torch.manual_seed(seed)
    config = Gemma2Config(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=48, num_hidden_layers=layers, num_attention_heads=2,
        num_key_value_heads=1, head_dim=16, sliding_window=5, query_pre_attn_scalar=16, initializer_range=0.2,
        pad_token_id=0, bos_token_id=1, eos_token_id=2, attn_implementation="eager",
    )  # fmt: skip
    assert "sliding_attention" in config.layer_types[:1]
    return Gemma2ForCausalLM(config).eval()


def gpt2(tokenizer, seed):
    torch.manual_seed(seed)
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=16, n_layer=3, n_head=2, bos_token_id=1, eos_token_id=2)
    return GPT2LMHeadModel(config).eval()


def parts(kind, tokenizer):
    small = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    if kind == "llama":
        return [tiny_model(tokenizer, 0), *(tiny_model(tokenizer, seed, **small) for seed in (1, 2))]
    if kind == "gemma":
        return [gemma(tokenizer, 0, 4), gemma(tokenizer, 1, 2), gemma(tokenizer, 2, 2)]
    return [tiny_model(tokenizer, 0), gemma(tokenizer, 1, 2), gpt2(tokenizer, 2)]


def as_loaded(model, tokenizer):
    return LoadedModel(model, tokenizer, Template(kind="plain"), type(model).__name__, "none")


@pytest.fixture(scope="module", params=["llama", "gemma", "mixed"])
def together(request, tokenizer):
    members = parts(request.param, tokenizer)
    return members, as_loaded(Ensemble(members, difference), tokenizer)


@torch.inference_mode()
def by_hand(members, prompt, answer):
    """log p of each answer token, from each member's plain forward pass over the whole text, without a cache."""
    ids = torch.tensor([[*prompt, *answer]])
    z, clean, dirty = (member(input_ids=ids, use_cache=False).logits[0].double() for member in members)
    logp = (z + 1.5 * (clean - dirty)).log_softmax(-1)
    steps = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return np.array([float(logp[step, token]) for step, token in zip(steps, answer, strict=True)])


def sampled(sampler, n=12, decoding=DECODING):
    batches = sampler.sample([Request(prompt, range(n)) for prompt in FORGET], decoding, seed=0)
    return {(g.prompt_id, g.sample): g for batch in batches for g in batch}


@pytest.mark.parametrize("engine", ["tree", "rows", "generate"])
def test_samples_have_the_probabilities_made_by_hand(together, engine):
    members, loaded = together
    engines = {
        "tree": lambda: NativeSampler(loaded),
        "rows": lambda: NativeSampler(loaded, tree=False, max_rows=7),
        "generate": lambda: GenerateSampler(loaded),
    }
    found = sampled(engines[engine]())
    assert len(found) == 12 * len(FORGET)
    prompts = {p.id: loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in FORGET}
    for one in found.values():
        assert one.logprob == pytest.approx(by_hand(members, prompts[one.prompt_id], one.token_ids).sum(), abs=1e-4)
        assert len(one.token_ids) <= 12


def test_every_engine_draws_the_same(together):
    _, loaded = together
    wanted = {key: g.token_ids for key, g in sampled(NativeSampler(loaded)).items()}
    for other in (NativeSampler(loaded, tree=False, max_rows=5), GenerateSampler(loaded, max_rows=9)):
        assert {key: g.token_ids for key, g in sampled(other).items()} == wanted


def test_forced_probabilities_are_those_made_by_hand(together):
    members, loaded = together
    pairs = [
        (loaded.template.prompt_ids(loaded.tokenizer, p.query), loaded.tokenizer(p.answer)["input_ids"]) for p in FORGET
    ]
    free = Decoding(max_new_tokens=64)
    for steps, (prompt, answer) in zip(token_logprobs(loaded, pairs, free), pairs, strict=True):
        np.testing.assert_allclose(steps, by_hand(members, prompt, answer), atol=1e-5)
    assert np.isfinite(answer_logprob(loaded, FORGET, free)).all()


def test_the_answer_tree_has_the_probabilities_made_by_hand(together):
    members, loaded = together
    short = Decoding(max_new_tokens=3)
    prompts = {p.id: loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in FORGET}
    for tree in expand(loaded, FORGET[:2], short, budget=40):
        assert tree.answers
        for answer in tree.answers[:10]:
            made = by_hand(members, prompts[tree.prompt_id], answer.token_ids).sum()
            assert answer.logprob == pytest.approx(made, abs=1e-5)


def test_the_members_matter(together):
    """Or the tests above could pass with the first member alone."""
    members, loaded = together
    alone = as_loaded(members[0], loaded.tokenizer)
    assert {k: g.text for k, g in sampled(NativeSampler(alone)).items()} != {
        k: g.text for k, g in sampled(NativeSampler(loaded)).items()
    }


def test_a_vocabulary_padded_further_is_cut_to_the_common_part(tokenizer):
    torch.manual_seed(0)
    first, wide = tiny_model(tokenizer, 0), tiny_model(tokenizer, 1, vocab_size=len(tokenizer) + 20)
    joint = ensemble([as_loaded(m, tokenizer) for m in (first, wide)], lambda a, b: a + b)
    logits = joint.model(input_ids=torch.tensor([[1, 5, 7]])).logits
    wanted = first(input_ids=torch.tensor([[1, 5, 7]])).logits
    wanted = wanted + wide(input_ids=torch.tensor([[1, 5, 7]])).logits[..., : len(tokenizer)]
    torch.testing.assert_close(logits, wanted)


def test_another_vocabulary_is_refused_in_one_sentence(tokenizer, tmp_path):
    other = ModelSource(str(save_tiny_model(tmp_path / "other"))).load()
    mine = as_loaded(tiny_model(tokenizer, 0), tokenizer)
    with pytest.raises(
        ModelError, match=r"other.* has another vocabulary .*use models with one tokenizer\.$"
    ) as caught:
        ensemble([mine, other], lambda a, b: a + b)
    assert "\n" not in str(caught.value)


def test_a_cache_of_another_model_is_refused(together):
    from transformers.cache_utils import DynamicCache

    _, loaded = together
    cache = DynamicCache()
    cache.update(torch.zeros(1, 1, 1, 4), torch.zeros(1, 1, 1, 4), 0)
    with pytest.raises(ModelError, match="is not this ensemble's"):
        loaded.model(input_ids=torch.tensor([[1]]), past_key_values=cache, use_cache=True)


def test_a_source_loads_the_ensemble(tmp_path):
    paths = [str(save_tiny_model(tmp_path / f"m{seed}", seed=seed)) for seed in range(3)]
    source = EnsembleSource(paths[0], device="cpu", others=tuple(paths[1:]), combine=difference)
    members = [ModelSource(path, device="cpu").load() for path in paths]
    joint = ensemble(members, difference)
    sampler = make_sampler("native", source)
    assert sampler.describe()["fingerprint"] == joint.fingerprint
    other = ensemble(members[:2] + members[:1], difference)
    assert other.fingerprint != joint.fingerprint
    requests = [Request(prompt, range(6)) for prompt in PROMPTS]
    found = {(g.prompt_id, g.sample): g.text for b in sampler.sample(requests, DECODING, seed=1) for g in b}
    wanted = {
        (g.prompt_id, g.sample): g.text for b in NativeSampler(joint).sample(requests, DECODING, seed=1) for g in b
    }
    assert found == wanted
    with pytest.raises(ModelError, match="needs `combine`"):
        EnsembleSource(paths[0], others=tuple(paths[1:])).load()


def test_an_engine_that_would_load_the_first_member_alone_is_refused(tmp_path, tokenizer):
    source = EnsembleSource("first", others=("second",), combine=difference)
    for engine in ("endpoint", "vllm"):
        with pytest.raises(ModelError, match=f"Engine {engine} loads one model"):
            make_sampler(engine, source)
    joint = as_loaded(Ensemble(parts("llama", tokenizer), difference), tokenizer)
    with pytest.raises(ModelError, match=r"no continuous batching for Ensemble .*use --engine generate"):
        next(iter(make_sampler("continuous", joint).sample([Request(FORGET[0], [0])], DECODING, seed=0)))
