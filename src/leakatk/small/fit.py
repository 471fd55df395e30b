"""Training of a small model from scratch: batches of similar lengths, AdamW, a phase with its schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase

from leakatk.benchmarks.worlds.people import Pair
from leakatk.errors import InputError
from leakatk.progress import Progress
from leakatk.small.architecture import BOS, EOS, SEP


@dataclass(frozen=True, slots=True)
class Phase:
    """One training phase: AdamW (betas .9/.98, weight decay .01, clip 1), linear warm-up, cosine to 10%."""

    steps: int
    """Optimiser steps."""
    learning_rate: float
    """The highest."""
    batch_size: int = 32
    """Examples a step."""
    warmup: int = 20
    """Steps with a rising learning rate."""
    loss_on: Literal["all", "answer"] = "answer"
    """"all" tokens, or the "answer" tokens and the end token."""
    stop_loss: float = 0.0
    """End early when the mean loss of an epoch falls below it; 0 is never."""

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise InputError(f"Phase needs steps and batch_size of at least 1, got {self.steps} and {self.batch_size}.")


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[tuple[list[int], int]]:
    """(token ids of the whole example, number of prompt tokens) for each (question, answer)."""
    bos, eos, sep = (int(tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS, SEP))
    questions = tokenizer([q for q, _ in pairs], add_special_tokens=False)["input_ids"]
    answers = tokenizer([a for _, a in pairs], add_special_tokens=False)["input_ids"]
    return [([bos, *q, sep, *a, eos], len(q) + 2) for q, a in zip(questions, answers, strict=True)]


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    phase: Phase,
    *,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Train in place and return the loss of every step.

    Batches hold examples of about the same length, so little is padding; only positions in the loss go through the
    output layer. The order is a function of `seed` alone.
    """
    if not pairs:
        raise InputError("There is nothing to train on: no question and answer pairs.")
    examples = encode(tokenizer, pairs)
    device = next(model.parameters()).device
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, phase))
    losses: list[float] = []
    model.train()
    while len(losses) < phase.steps:
        epoch = batches_of([len(ids) for ids, _ in examples], phase.batch_size, rng)
        for batch in epoch[: phase.steps - len(losses)]:
            ids, labels = collate([examples[i] for i in batch], phase.loss_on, int(tokenizer.pad_token_id))
            loss = _loss(model, ids.to(device), labels.to(device))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
            if progress is not None:
                progress.advance(note=f"loss {losses[-1]:.4f}")
        if np.mean(losses[-len(epoch) :]) < phase.stop_loss:
            break
    model.eval()
    return losses


def _learning_rate(step: int, phase: Phase) -> float:
    """Factor on the peak: linear warm-up, then cosine down to a tenth."""
    warm = min(1.0, (step + 1) / phase.warmup) if phase.warmup else 1.0
    return warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / phase.steps))))


def batches_of(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """One shuffled epoch in batches of similar lengths: shuffle, sort pools of 8 batches by length, shuffle the batches."""
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), 8 * size):
        pool = sorted((int(i) for i in order[start : start + 8 * size]), key=lambda i: lengths[i])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def collate(
    batch: Sequence[tuple[list[int], int]], loss_on: Literal["all", "answer"], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and next-token labels, both (batch, length); a label of -100 is not in the loss."""
    width = max(len(ids) for ids, _ in batch) - 1
    inputs = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), -100)
    for row, (ids, prompt) in enumerate(batch):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        first = prompt - 1 if loss_on == "answer" else 0
        labels[row, first : len(ids) - 1] = torch.tensor(ids[first + 1 :])
    return inputs, labels


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy. Padding stands on the right, so causal attention never sees it and no mask is needed."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    chosen = labels != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[chosen]), labels[chosen])
