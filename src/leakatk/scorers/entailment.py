"""Entailment score (ES): does a natural-language-inference model say that the generation entails the truth?

As in Leak@k: 1 when the label is "entailment" and ROUGE-L recall is at least the gate, else 0. The gate costs nothing and
decides first, so that most pairs never reach the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from leakatk.data import Prompt
from leakatk.errors import InputError, ModelError
from leakatk.progress import Progress
from leakatk.scorers.base import SCORERS, FloatArray, IntArray, Scorer
from leakatk.scorers.rouge import rouge_l
from leakatk.scorers.text import well_formed


@SCORERS.register("entailment")
@dataclass(frozen=True)
class Entailment(Scorer):
    """Blank generation: 0. Blank truth: NaN.

    direction "forget": the generation is the premise, the truth the hypothesis; "retain": the other way round.
    model: any sequence classifier with an entailment label, a directory or a hub id. gate: least ROUGE-L recall.
    """

    name = "entailment"
    summary = "1 if an NLI model says that the generation entails the truth (and ROUGE-L recall is at least .1)"
    needs_model = True

    model: str = "sileod/deberta-v3-base-tasksource-nli"
    direction: Literal["forget", "retain"] = "forget"
    gate: float = 0.1
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.direction not in ("forget", "retain"):
            raise InputError(f"Scorer option entailment:direction must be forget or retain, got {self.direction!r}.")

    def passing(self, references: Sequence[Prompt], generations: Sequence[str]) -> IntArray:
        """Indices of the pairs that pass the gate: only these reach the model."""
        recall = rouge_l([prompt.answer for prompt in references], generations).recall
        said = np.array([bool(text.strip()) for text in generations], dtype=bool)
        return np.flatnonzero((recall >= self.gate) & said)

    def score_distinct(self, references: Sequence[Prompt], generations: Sequence[str]) -> FloatArray:
        scores = np.zeros(len(generations))
        passing = self.passing(references, generations)
        pairs = [(well_formed(generations[i]), well_formed(references[i].answer)) for i in passing]
        if self.direction == "retain":
            pairs = [(truth, said) for said, truth in pairs]
        if pairs:
            scores[passing] = entailed(self.model, pairs, batch_size=self.batch_size)
        scores[[not prompt.answer.strip() for prompt in references]] = np.nan
        return scores


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

    from leakatk.models import pick_device

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
