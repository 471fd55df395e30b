"""Natural-language inference with any sequence classifier: does a premise entail a hypothesis?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from leakatk.errors import ModelError
from leakatk.progress import Progress
from leakatk.scorers.base import FloatArray, IntArray


def entailed(name: str, pairs: Sequence[tuple[str, str]], *, batch_size: int = 32) -> FloatArray:
    """1 where the classifier's first label for (premise, hypothesis) is entailment, else 0; batches of like length."""
    import torch

    tokenizer, model, label = load_classifier(name)
    # Some tokenizers name no limit; RoBERTa has two positions fewer than max_position_embeddings says.
    named = tokenizer.model_max_length if tokenizer.model_max_length < 10**6 else 512
    limit = min(int(named), int(getattr(model.config, "max_position_embeddings", 512)))
    result = np.zeros(len(pairs))
    with Progress("entailment", len(pairs), unit="pairs", quiet=len(pairs) < 1000) as progress, torch.inference_mode():
        for rows in by_length([len(premise) + len(hypothesis) for premise, hypothesis in pairs], batch_size):
            batch = tokenizer(
                [pairs[i][0] for i in rows],
                [pairs[i][1] for i in rows],
                padding=True,
                truncation="longest_first",
                max_length=limit,
                return_tensors="pt",
            ).to(model.device)
            result[rows] = (model(**batch).logits.argmax(dim=-1) == label).double().cpu().numpy()
            progress.advance(len(rows))
    return result


def by_length(lengths: Sequence[int], size: int) -> Iterator[IntArray]:
    """Indices in batches of `size`, longest first: little padding, and a batch too big for memory fails at once."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    yield from (order[start : start + size] for start in range(0, len(order), size))


@lru_cache(maxsize=1)
def load_classifier(name: str) -> tuple[Any, Any, int]:
    """(tokenizer, model, index of the entailment label). ModelError when it cannot be loaded or has no such label."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from leakatk.models.load import pick_device

    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
        model = AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"Cannot load the NLI model {name!r} ({type(error).__name__}); give a local directory with safetensors weights "
            "(--scorer entailment:model=DIR) or check the name and the network."
        ) from error
    return tokenizer, model.to(pick_device()).eval(), entailment_label(name, model.config.id2label)


def entailment_label(name: str, labels: Mapping[int, str]) -> int:
    """The index of the label that means entailment ("entailment", "ENTAILMENT", "entails"; not "not_entailment")."""
    found = [i for i, text in labels.items() if text.lower().startswith("entail")]
    if len(found) != 1:
        raise ModelError(
            f"The NLI model {name!r} has no single entailment label among {', '.join(map(str, labels.values()))}; name it "
            '"entailment" under id2label in its config.json.'
        )
    return int(found[0])
