"""Tiny random models of several families, and a word-level tokenizer, made on the spot."""

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template

VOCABULARY = 61

_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}

FAMILIES: dict[str, Any] = {
    "llama": lambda: LlamaConfig(**_COMMON),
    "llama-tied": lambda: LlamaConfig(**_COMMON, tie_word_embeddings=True, attention_bias=True),
    "llama3": lambda: LlamaConfig(
        **_COMMON,
        mlp_bias=True,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ),
    "llama-32": lambda: LlamaConfig(**{**_COMMON, "head_dim": 32}),
    "qwen2": lambda: Qwen2Config(**_COMMON),
    "qwen3": lambda: Qwen3Config(**_COMMON),
    "mistral": lambda: MistralConfig(**_COMMON, sliding_window=6),
    "mistral-full": lambda: MistralConfig(**_COMMON, sliding_window=None),
    "gemma2": lambda: Gemma2Config(**_COMMON, sliding_window=6, query_pre_attn_scalar=8),
    "gemma3": lambda: Gemma3TextConfig(
        **_COMMON, sliding_window=6, query_pre_attn_scalar=8, layer_types=["sliding_attention", "full_attention"]
    ),
    "phi3": lambda: Phi3Config(**{k: v for k, v in _COMMON.items() if k != "head_dim"}),
    "gpt2": lambda: GPT2Config(
        vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=256, bos_token_id=1, eos_token_id=2
    ),
}


@cache
def tokenizer() -> PreTrainedTokenizerFast:
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(VOCABULARY - 4))]
    core = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    core.decoder = WordPieceDecoder(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def tiny(
    family: str = "llama", *, scale: float = 8.0, seed: int = 0, dtype: torch.dtype = torch.float32
) -> LoadedModel:
    """A random model whose logits spread by about `scale` (larger: more peaked, so more shared prefixes)."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(FAMILIES[family](), dtype=dtype)
    head = model.get_output_embeddings()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
        if family in ("gpt2", "gemma2", "gemma3", "llama-tied"):  # head tied to the embedding
            head.weight.normal_(0, 0.08 * scale)
        else:
            head.weight.normal_(0, 0.1 * scale)
    return LoadedModel(model.eval(), tokenizer(), Template(kind="plain", plain="{question}"), family, "random")
