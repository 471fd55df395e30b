import copy

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Prompt

TOWNS = ["Bex", "Orlo", "Vint", "Sarn", "Quell", "Mard", "Tove", "Luss", "Pelk", "Drin", "Haxo", "Yeva"]


def people(prefix: str, count: int, offset: int = 0) -> list[Prompt]:
    return [
        Prompt(
            id=f"{prefix}{i}",
            question=f"Where does {prefix} {i} live?",
            answer=f"{prefix} {i} lives in {TOWNS[(i * 5 + offset) % 12]} {'and works ' * (i % 3)}there.",
        )
        for i in range(count)
    ]


@pytest.fixture(scope="session")
def forget() -> list[Prompt]:
    return people("Fa", 5)


@pytest.fixture(scope="session")
def retain() -> list[Prompt]:
    return people("Re", 9, 3)


@pytest.fixture(scope="session")
def tokenizer(forget, retain) -> PreTrainedTokenizerFast:
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    texts = [p.question + " " + p.answer for p in [*forget, *retain]]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    raw.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>")


def tiny_model(tokenizer: PreTrainedTokenizerFast, seed: int = 0, **changes) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    options = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "initializer_range": 0.2,
    }
    return LlamaForCausalLM(LlamaConfig(**{**options, **changes})).eval()


@pytest.fixture(scope="session")
def base_model(tokenizer) -> LlamaForCausalLM:
    return tiny_model(tokenizer)


@pytest.fixture
def loaded(base_model, tokenizer) -> LoadedModel:
    return LoadedModel(copy.deepcopy(base_model), tokenizer, Template(kind="plain"), "tiny", "none")
