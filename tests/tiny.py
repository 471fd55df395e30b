"""A random Llama small enough for any test, with a word-level tokenizer and a chat template."""

from __future__ import annotations

from pathlib import Path

from leakatk.files.checksums import INDEX
from leakatk.prompts import Prompt

PROMPTS = [
    Prompt("p0", "Where was Ada born?", "Ada was born in Zorvik.", facts=("Zorvik",), source="Ada"),
    Prompt("p1", "Who taught Bo?", "Bo was taught by Mira Quell.", facts=("Mira Quell",), source="Bo"),
    Prompt("p2", "What did Cy write?", "Cy wrote The Glass Orchard.", facts=("The Glass Orchard",), source="Cy"),
]


def save_tiny_model(path: Path, *, seed: int = 0, hidden: int = 32) -> Path:
    """Save a random model and tokenizer with save_pretrained; returns the directory.

    Without checksums, as other libraries save: tests may change its files.
    """
    import torch

    from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer

    texts = [text for prompt in PROMPTS for text in (prompt.question, prompt.answer)]
    tokenizer = train_tokenizer(texts, 300)
    torch.manual_seed(seed)
    model = new_model(tokenizer, SmallConfig(hidden=hidden, layers=2, heads=2, mlp=64, vocabulary=300), seed=seed)
    save_model(model, tokenizer, path)
    (path / INDEX).unlink()
    return path
