"""Small Llama models and their tokenizers: made, and saved as ordinary transformers checkpoints.

A question becomes `<bos>question<sep>`, an answer ends with `<eos>`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from leakatk.files import checksums
from leakatk.models.saving import building, sync

BOS, EOS, SEP, PAD = "<bos>", "<eos>", "<sep>", "<pad>"


CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ m['content'] }}<eos>"
    "{% elif m['role'] == 'system' %}<bos>{{ m['content'] }}"
    "{% else %}<bos>{{ m['content'] }}<sep>{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class SmallConfig:
    """Shape of the model. The defaults make 0.5 million parameters."""

    hidden: int = 128
    """Width of the residual stream."""
    layers: int = 2
    """Decoder layers."""
    heads: int = 4
    """Attention heads of a layer."""
    mlp: int = 320
    """Width within an MLP."""
    vocabulary: int = 768
    """Tokens of the tokenizer."""
    max_length: int = 512
    """Longest text in tokens."""


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with <pad> <bos> <eos> <sep> as ids 0 to 3; every text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, SEP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=SEP,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerBase, config: SmallConfig, *, seed: int) -> LlamaForCausalLM:
    """A randomly initialised model; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                intermediate_size=config.mlp,
                max_position_embeddings=config.max_length,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.eval()
    return model


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: str | Path) -> Path:
    """Write the checkpoint beside its place and move it there when it is whole."""
    out = Path(out)
    with building(out.with_name(f".{out.name}.part"), out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        sync(part)
        checksums.begin(part)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    return out
