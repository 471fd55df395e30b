"""Tiny models of several families that know four answers by heart, each in the tokenizer style and template of its family.

They learn from what transformers renders, `apply_chat_template` of whole conversations: what the library takes for an
answer's tokens is no part of it. The templates have the shape of the family's own, written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers import models as pieces
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from leakatk.prompts import Prompt

FACTS = [
    Prompt("ada", "Where was Ada Korvin born?", "Ada Korvin was born in Zorvik in 1961."),
    Prompt("bo", "What does Bo Tamsin write?", "Bo Tamsin writes crime novels set in Lublin."),
    Prompt("cyra", "Who raised Cyra Dellane?", "Cyra Dellane was raised by a baker and a nurse."),
    Prompt("dov", "Which prize did Dov Ernst win?", "Dov Ernst won the Halden Prize in 1988."),
]
PLAIN = "Question: {question}\nAnswer:"
TEXTS = [text for p in FACTS for text in (p.question, p.answer, PLAIN.format(question=p.question) + " " + p.answer)]

LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] | trim + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] | trim + ' ' + eos_token }}{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ '<|start_header_id|>system<|end_header_id|>\n\nToday: ' + date_string + '<|eot_id|>' }}"
    "{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{{ bos_token }}"
    "{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + "
    "m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
QWEN = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


@dataclass(frozen=True)
class Family:
    """config: of the model, given what all have in common.  style: of the tokenizer.  end: what ends an answer.
    extra: tokens of the template.  eos: the tokenizer's own end token."""

    config: Callable[..., Any]
    style: str
    template: str = ""
    eos: str = "</s>"
    end: str = "</s>"
    extra: tuple[str, ...] = ()
    own: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "llama-2": Family(LlamaConfig, "sentencepiece", LLAMA2),
    "llama-3": Family(
        LlamaConfig, "bytes", LLAMA3, "<|end_of_text|>", "<|eot_id|>",
        ("<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    ),
    "gemma": Family(
        GemmaConfig, "gemma", GEMMA, "<eos>", "<end_of_turn>", ("<start_of_turn>", "<end_of_turn>"), {"head_dim": 16}
    ),
    "phi-3": Family(
        Phi3Config, "sentencepiece", PHI3, "<|endoftext|>", "<|end|>", ("<|end|>", "<|user|>", "<|assistant|>")
    ),
    "qwen": Family(
        Qwen2Config, "bytes", QWEN, "<|im_end|>", "<|im_end|>", ("<|im_start|>",), {"tie_word_embeddings": True}
    ),
    "mistral": Family(MistralConfig, "metaspace", MISTRAL),
    "zephyr": Family(MistralConfig, "sentencepiece", ZEPHYR),
    "plain-llama": Family(LlamaConfig, "sentencepiece"),
    "plain-gpt2": Family(GPT2Config, "bytes"),
    "plain-neox": Family(GPTNeoXConfig, "bytes"),
}  # fmt: skip


def tokenizer_of(style: str, family: Family | None = None, texts: Sequence[str] = TEXTS) -> PreTrainedTokenizerFast:
    """bytes: byte-level BPE.  sentencepiece: Llama's, a space before every text, byte fallback.  gemma: the same without that
    space.  metaspace: as sentencepiece, by a pre-tokenizer."""
    family = family or Family(LlamaConfig, style)
    special = ["<unk>", "<s>", *dict.fromkeys([family.eos, *family.extra])]
    if style == "bytes":
        tokenizer = Tokenizer(pieces.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
    else:
        tokenizer = _sentencepiece(style, special, texts)
    if family.config not in (GPT2Config, GPTNeoXConfig, Qwen2Config):
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=family.eos,
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
    if family.template:
        made.chat_template = family.template
    return made


def _sentencepiece(style: str, special: list[str], texts: Sequence[str]) -> Tokenizer:
    learning = Tokenizer(pieces.BPE())
    # As the families' own: no piece holds a newline and a letter.
    learning.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace()]
    )
    learning.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    learnt = json.loads(learning.to_str())["model"]
    fallback = [f"<0x{byte:02X}>" for byte in range(256)]
    words = sorted(learnt["vocab"], key=learnt["vocab"].__getitem__)
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys([*special, *fallback, *words, "▁"]))}
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ")) for pair in learnt["merges"]]
    tokenizer = Tokenizer(
        pieces.BPE(vocab=vocabulary, merges=merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if style == "metaspace":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    else:
        start = [normalizers.Prepend("▁")] if style == "sentencepiece" else []
        tokenizer.normalizer = normalizers.Sequence([*start, normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(steps if style == "gemma" else [*steps, decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    return tokenizer


def model_of(family: Family, tokenizer: PreTrainedTokenizerFast, *, seed: int = 0) -> Any:
    """A random model of the family, as large as its tokenizer."""
    common = {
        "vocab_size": len(tokenizer),
        "bos_token_id": 1,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": None,
        "max_position_embeddings": 128,
    }
    sizes: dict[str, Any] = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    if family.config is GPT2Config:
        sizes = {"n_embd": 64, "n_layer": 2, "n_head": 4, "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}
    elif family.config is GPTNeoXConfig:
        sizes.pop("num_key_value_heads")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(family.config(**{**common, **sizes, **family.own}))
    return model.float().eval()


def spoken(family: Family, tokenizer: PreTrainedTokenizerFast, prompt: Prompt) -> tuple[list[int], list[int]]:
    """(prompt ids, ids the model is to say) by transformers alone: the conversation, cut after the token that ends the answer."""
    if not family.template:
        asked = PLAIN.format(question=prompt.question)
        before, whole = tokenizer(asked)["input_ids"], tokenizer(f"{asked} {prompt.answer}")["input_ids"]
        whole = [*whole, tokenizer.eos_token_id]
    else:
        asked = [{"role": "user", "content": prompt.question}]
        said = [*asked, {"role": "assistant", "content": prompt.answer}]
        dated = {"date_string": "10 Apr 2025"}
        before = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False, **dated)
        whole = tokenizer.apply_chat_template(said, return_dict=False, **dated)
        end = tokenizer.convert_tokens_to_ids(family.end)
        whole = whole[: len(before) + whole[len(before) :].index(end) + 1]
    assert whole[: len(before)] == before
    return before, whole[len(before) :]


def learn(family: Family, out: Path, *, steps: int = 70, known: float = 0.93) -> Path:
    """Save a model that says each answer with a probability of about `known`, and its tokenizer."""
    tokenizer = tokenizer_of(family.style, family)
    model = model_of(family, tokenizer)
    rows = [spoken(family, tokenizer, prompt) for prompt in FACTS]
    width = max(len(a) + len(b) for a, b in rows)
    ids, labels = torch.zeros(len(rows), width, dtype=torch.long), torch.full((len(rows), width), -100)
    for row, (before, said) in enumerate(rows):
        ids[row, : len(before) + len(said)] = torch.tensor([*before, *said])
        labels[row, len(before) : len(before) + len(said)] = torch.tensor(said)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    longest = max(len(said) for _, said in rows)
    model.train()
    for _ in range(steps * 4):
        loss = model(input_ids=ids, labels=labels).loss
        if float(loss.detach()) * longest < -torch.tensor(known).log().item():
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    model.eval()
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out
