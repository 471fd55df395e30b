"""The keys and values of transformers' models go under the name that their forward takes, whatever release it is."""

import warnings
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    GPTNeoXConfig,
    OpenAIGPTConfig,
    OPTConfig,
    PreTrainedModel,
)

from leakatk.errors import ModelError
from leakatk.sampling.kv_cache import ModuleDecoder, cache_keyword, prefill
from tests.sampling.models import FAMILIES, VOCABULARY, tiny

OTHERS: dict[str, Any] = {
    "gpt-neox": lambda: GPTNeoXConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    ),
    "opt": lambda: OPTConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        ffn_dim=48,
        word_embed_proj_dim=32,
    ),
    "bloom": lambda: BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4),
}
IDS = [5, 7, 11, 13, 17, 19]


def model_of(name: str) -> PreTrainedModel:
    if name in OTHERS:
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(OTHERS[name]()).eval()
    if name == "lora":
        return get_peft_model(model_of("llama"), LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM"))
    return tiny(name).model


@pytest.mark.parametrize("name", [*FAMILIES, *OTHERS, "lora"])
def test_prefill_in_two_parts_is_prefill_in_one_without_a_warning(name: str) -> None:
    """The cache given is used: without it the second part would not know the first."""
    model = model_of(name)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        whole = prefill(model, [IDS])
        parts = prefill(model, [IDS], prefill(model, [IDS[:4]]))
        alone = prefill(model, [IDS[4:]])
    for (keys, values), again, other in zip(whole, parts, alone, strict=True):
        torch.testing.assert_close((keys, values), again, atol=1e-4, rtol=1e-3)
        assert keys.shape[2] == len(IDS)
        assert other[0].shape[2] == 2


@pytest.mark.parametrize("name", [*FAMILIES, "gpt-neox", "opt", "lora"])
def test_a_step_sees_what_came_before(name: str) -> None:
    """Logits of the last token by the decoder's step are those of one forward pass over all tokens."""
    model = model_of(name)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        wanted = model(input_ids=torch.tensor([IDS]), use_cache=False).logits[:, -1]
        prefix = prefill(model, [IDS[:-1]])
        decoder = ModuleDecoder(model, prefix, rows=1, slots=12, begin=len(IDS) - 1)
        decoder.enter(0, prefix, [len(IDS) - 1])
        zero = torch.zeros(1, dtype=torch.long).numpy()
        found = decoder.logits(decoder.features(torch.tensor([IDS[-1]]), zero, zero, zero))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


class Old(nn.Module):
    def forward(self, input_ids: Any, past_key_values: Any = None, **options: Any) -> None: ...


class New(nn.Module):
    def forward(self, input_ids: Any, cache: Any = None, **options: Any) -> None: ...


class Adapter(nn.Module):
    """Hands all keywords on, as peft's does."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base

    def get_base_model(self) -> nn.Module:
        return self.base

    def forward(self, input_ids: Any, **options: Any) -> None: ...


@pytest.mark.parametrize(("kind", "name"), [(Old, "past_key_values"), (New, "cache")])
def test_both_releases(kind: type[nn.Module], name: str) -> None:
    assert cache_keyword(kind()) == name  # type: ignore[arg-type]
    assert cache_keyword(Adapter(kind())) == name  # type: ignore[arg-type]
    assert cache_keyword(torch.compile(kind())) == name  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "name"), [(Old, "past_key_values"), (New, "cache")])
def test_a_forward_put_in_place_of_its_own(kind: type[nn.Module], name: str) -> None:
    model = kind()
    model.forward = lambda input_ids, **options: None  # type: ignore[method-assign]
    assert cache_keyword(model) == name  # type: ignore[arg-type]


def test_a_forward_put_in_place_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("llama")
    name = cache_keyword(model)
    monkeypatch.setattr(type(model), "forward", lambda self, *arguments, **options: None)
    assert cache_keyword(model) == name


def test_a_model_without_a_cache_is_refused_by_name() -> None:
    config = OpenAIGPTConfig(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4)
    with pytest.raises(
        ModelError, match=r"OpenAIGPTLMHeadModel: .*neither cache nor past_key_values.*--engine generate"
    ):
        prefill(AutoModelForCausalLM.from_config(config), [IDS])
