"""A tiny base model with a start token, and inputs in MUSE's format: what MUSE's published code and ours are run on.

Weights and texts come from NumPy's `RandomState`, whose numbers never change, so that tests/golden/peers/muse.json holds.
"""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<s>", "</s>", "<unk>"]
NAMES = [first + second for first in ("ba", "de", "fi", "go") for second in ("lu", "mi", "no")]
KNOWN = ["Question:", "Answer:", "\n", "\n\n", "\nQuestion:"]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word that follows a space; a space alone is a token too, and every text begins with <s>."""
    words = [*SPECIAL, "▁", *KNOWN, *(f"▁{name}" for name in NAMES)]
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.Metaspace(prepend_scheme="never")]
    )
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="</s>"
    )


def model(seed: int = 3, scale: float = 0.7) -> LlamaForCausalLM:
    size = len(tokenizer())
    config = LlamaConfig(
        vocab_size=size, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=4096, bos_token_id=0, eos_token_id=1, pad_token_id=1,
        tie_word_embeddings=False,
    )  # fmt: skip
    made = LlamaForCausalLM(config).eval()
    random = np.random.RandomState(seed)
    with torch.no_grad():
        for _, parameter in sorted(made.named_parameters()):
            if parameter.dim() > 1:
                parameter.copy_(torch.from_numpy(random.normal(0, scale, tuple(parameter.shape))).float())
    return made


def _says(random: np.random.RandomState, count: int) -> str:
    return " ".join(random.choice(NAMES, count))


def inputs(seed: int = 18) -> dict[str, list]:
    """Questions and solved ones, passages to continue (longer and shorter than 128 tokens), texts of the attack, of which one
    a side is longer than 2,048 tokens."""
    random = np.random.RandomState(seed)

    def qa(count: int) -> list[dict[str, str]]:
        return [{"question": _says(random, 4), "answer": _says(random, 3)} for _ in range(count)]

    passages = [{"prompt": _says(random, 6), "gt": _says(random, size)} for size in (40, 127, 128, 150, 300)]
    texts = {
        side: [_says(random, size) for size in (9, 14, 23, 31, 48, 60, 100, 2300)] for side in ("forget", "holdout")
    }
    return {
        "forget_qa": qa(6),
        "forget_icl": qa(2),
        "retain_qa": qa(5),
        "retain_icl": qa(2),
        "verbmem": passages,
        **texts,
    }
