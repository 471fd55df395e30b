"""The inputs of the golden values in methods.json: two tiny Llamas and a batch of ids, from a seeded numpy generator.

The vocabulary's token V-100 is improbable, like the reserved tokens that stand there in Llama 3's: open-unlearning's UNDIAL
lowers its logit wherever there is no label.
"""

from __future__ import annotations

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM

VOCABULARY, WIDTH, LAYERS = 128, 16, 2
RARE = VOCABULARY - 100
LENGTHS = {"forget": ((5, 4), (3, 9), (7, 2), (4, 6)), "retain": ((4, 7), (6, 3), (3, 5), (8, 10))}
OTHERS = {"refusal": (5, 3, 6, 4), "retain_refusal": (4, 6, 3, 5)}  # lengths of other answers to the same questions


def model(seed: int) -> LlamaForCausalLM:
    """The weights depend on numpy's generator alone."""
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=64, tie_word_embeddings=False, attn_implementation="eager",
        pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    made = LlamaForCausalLM(config).float().eval()
    rng = np.random.default_rng(seed)
    with torch.no_grad():
        for name, value in sorted(made.named_parameters()):
            if value.dim() > 1:
                scale = 0.8 if name.startswith(("lm_head", "model.embed")) else 0.2
                value.copy_(torch.from_numpy(rng.uniform(-scale, scale, tuple(value.shape)).astype(np.float32)))
            else:
                value.fill_(1.0)
        embedding, head = made.model.embed_tokens.weight, made.lm_head.weight
        head[torch.tensor(after())] += 3.0 * embedding  # each token makes another likely, so that answers are known
        embedding[:, 0] = 4.0  # so that the first coordinate stays positive
        head[:, 0] = 0.0
        head[RARE] = 0.0
        head[RARE, 0] = -3.0
    return made


def after() -> list[int]:
    """The token that both models expect after each token, in the main."""
    low = list(range(RARE + 1))
    return [*low, *(int(i) for i in np.random.default_rng(17).permutation(np.arange(RARE + 1, VOCABULARY)))]


def ids() -> dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]]:
    """Prompt and answer ids of four items a stream."""
    rng = np.random.default_rng(23)

    def some(count: int) -> tuple[int, ...]:
        return tuple(int(i) for i in rng.integers(RARE + 1, VOCABULARY, count))

    def answer(question: tuple[int, ...], count: int) -> tuple[int, ...]:
        """Tokens as the models expect them, in the main."""
        made = [question[-1]]
        for _ in range(count):
            made.append(after()[made[-1]])
        return tuple(made[1:])

    made = {}
    for name, lengths in LENGTHS.items():
        made[name] = [(question, answer(question, a)) for question, a in ((some(q), a) for q, a in lengths)]
    sides = {"refusal": "forget", "retain_refusal": "retain"}
    for name, lengths in OTHERS.items():
        items = zip(made[sides[name]], lengths, strict=True)
        made[name] = [(question, answer(question, a)) for (question, _), a in items]
    return made


def direction() -> torch.Tensor:
    """(WIDTH,) RMU's control vector, normalised."""
    vector = np.random.default_rng(19).random(WIDTH)
    return torch.from_numpy((vector / np.linalg.norm(vector)).astype(np.float32))


def summary(made: LlamaForCausalLM) -> dict[str, float | list[float]]:
    """The gradient in few numbers: its norm, and its inner product with three random directions of length 1."""
    named = sorted(made.named_parameters())
    flat = torch.cat([(torch.zeros_like(v) if v.grad is None else v.grad).flatten() for _, v in named]).double().numpy()
    rng = np.random.default_rng(20)
    lines = [rng.uniform(-1, 1, flat.size) for _ in range(3)]
    return {
        "norm": float(np.linalg.norm(flat)),
        "projections": [float(flat @ line / np.linalg.norm(line)) for line in lines],
    }
