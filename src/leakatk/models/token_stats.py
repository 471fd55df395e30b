"""Teacher forcing for utility and privacy: what a model thinks of each token of a given answer.

Untempered probabilities of the model itself; for probabilities under a decoding see `leakatk.sampling.teacher_forcing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from leakatk.arrays import Bools, Floats
from leakatk.errors import InputError
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import refuse_codes
from leakatk.models.seams import Seam
from leakatk.prompts import Query

Ids = Sequence[int]
T = TypeVar("T")

_BATCH_LOGITS = 1 << 24  # float32 logits held at once


@dataclass(frozen=True, slots=True)
class TokenStats:
    """One value for each answer token, the end token included.

    logprob: log p(token | everything before it).  correct: the token is the most likely one.  mean, deviation: of
    log p(v) for v drawn from p at this position (what Min-K%++ standardises by).
    """

    logprob: Floats
    correct: Bools
    mean: Floats
    deviation: Floats

    def without_end(self) -> TokenStats:
        """The same without the last token, the end token of an answer; an answer of one token stays."""
        kept = slice(max(1, self.logprob.size - 1))
        return TokenStats(self.logprob[kept], self.correct[kept], self.mean[kept], self.deviation[kept])


def seams_of(
    loaded: LoadedModel, questions: Sequence[str | Query], answers: Sequence[str], *, end: bool = True
) -> list[Seam]:
    """The ids of each question and of its answer in the model's own template, and where they meet (`Template.pair`).

    end: the answer with its end token. InputError unless there is one answer for each question.
    """
    if len(questions) != len(answers):
        raise InputError(f"{len(questions)} questions but {len(answers)} answers; give one answer for each.")
    template, tokenizer = loaded.template, loaded.tokenizer
    return [template.pair(tokenizer, q, a, end=end) for q, a in zip(questions, answers, strict=True)]


def answer_pairs(
    loaded: LoadedModel, questions: Sequence[str | Query], answers: Sequence[str], *, end: bool = True
) -> list[tuple[list[int], list[int]]]:
    """(prompt ids, answer ids) as `seams_of` finds them."""
    return [(seam.prompt, seam.answer) for seam in seams_of(loaded, questions, answers, end=end)]


def text_pairs(loaded: LoadedModel, texts: Sequence[str], max_tokens: int = 0) -> list[tuple[list[int], list[int]]]:
    """Plain passages: (first token, the others), cut at `max_tokens` (0: whole). Without a start token the first is not scored."""
    pairs = []
    for text in texts:
        ids = [int(i) for i in loaded.tokenizer(text)["input_ids"]][: max_tokens or None]
        if len(ids) < 2:
            raise InputError(f"A text has fewer than two tokens and cannot be scored: {text!r:.60}.")
        pairs.append((ids[:1], ids[1:]))
    return pairs


@torch.inference_mode()
def token_stats(loaded: LoadedModel, pairs: Sequence[tuple[Ids, Ids]]) -> list[TokenStats]:
    """Statistics of every pair (prompt ids, answer ids), in order; batched by length."""
    return each_answer(loaded, pairs, _stats)


@torch.inference_mode()
def token_ranks(loaded: LoadedModel, pairs: Sequence[tuple[Ids, Ids]]) -> list[Floats]:
    """The rank of each answer token among all tokens, in order: 1 for the most likely. Among equals it is the mean of their ranks."""

    def ranks(log_p: torch.Tensor, wanted: torch.Tensor) -> Floats:
        own = log_p.gather(1, wanted[:, None])
        return _numpy(1 + (log_p > own).sum(1) + ((log_p == own).sum(1) - 1) / 2)

    return each_answer(loaded, pairs, ranks)


def each_answer(
    loaded: LoadedModel, pairs: Sequence[tuple[Ids, Ids]], look: Callable[[torch.Tensor, torch.Tensor], T]
) -> list[T]:
    """What `look` makes of each pair (prompt ids, answer ids), in order; batched by length.

    look: (log-probabilities of all tokens at each answer token (T, V), the answer's ids (T,)) -> anything.
    """
    results: dict[int, T] = {}
    order = sorted(range(len(pairs)), key=lambda i: -len(pairs[i][0]) - len(pairs[i][1]))
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    at = 0
    while at < len(order):
        width = sum(len(ids) for ids in pairs[order[at]])
        part = order[at : at + max(1, _BATCH_LOGITS // (vocabulary * max(1, width)))]
        at += len(part)
        for index, found in zip(part, _batch(loaded, [pairs[i] for i in part], look), strict=True):
            results[index] = found
    return [results[i] for i in range(len(pairs))]


def _batch(
    loaded: LoadedModel, pairs: Sequence[tuple[Ids, Ids]], look: Callable[[torch.Tensor, torch.Tensor], T]
) -> list[T]:
    width = max(len(p) + len(a) for p, a in pairs)
    check_positions(loaded.model, width, "A prompt with its answer")
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        if not prompt:
            raise InputError("A prompt has no tokens; give a question or a template with text.")
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(prompt) + len(answer)] = 1
    device = loaded.device
    logits = loaded.model(input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False).logits
    return [
        # The logits at position t predict token t + 1.
        look(
            logits[row, len(prompt) - 1 : len(prompt) - 1 + len(answer)].float().log_softmax(-1),
            torch.tensor(list(answer), device=device),
        )
        for row, (prompt, answer) in enumerate(pairs)
    ]


def _stats(log_p: torch.Tensor, wanted: torch.Tensor) -> TokenStats:
    p = log_p.exp()
    # p log p is 0 where p is 0, whatever log p is.
    weighted = torch.where(p > 0, p * log_p, torch.zeros_like(p))
    mean = weighted.sum(-1)
    square = torch.where(p > 0, p * log_p.square(), torch.zeros_like(p)).sum(-1)
    return TokenStats(
        logprob=_numpy(log_p.gather(1, wanted[:, None])[:, 0]),
        correct=(log_p.argmax(-1) == wanted).cpu().numpy(),
        mean=_numpy(mean),
        deviation=_numpy((square - mean.square()).clamp(min=0).sqrt()),
    )


def gradient_norms(loaded: LoadedModel, pairs: Sequence[tuple[Ids, Ids]]) -> Floats:
    """(m,) Euclidean norm, over all parameters, of the gradient of each answer's mean loss (the grad-norm attack).

    Low for a likely member. One backward pass a text; the model is left as it was.
    """
    model = loaded.model
    refuse_codes(model, "The gradient norm", "leave it out (--no-grad-norm), or leave out --load-in")
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    wanted_before = [p.requires_grad for p in parameters]
    norms = []
    try:
        for parameter in parameters:
            parameter.requires_grad_(True)
        for prompt, answer in pairs:
            check_positions(model, len(prompt) + len(answer), "A prompt with its answer")
            ids = torch.tensor([[*prompt, *answer]], device=loaded.device)
            logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].float()
            loss = torch.nn.functional.cross_entropy(logits, ids[0, len(prompt) :])
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
            norms.append(float(torch.stack([g.float().norm() for g in gradients if g is not None]).norm()))
    finally:
        for parameter, before in zip(parameters, wanted_before, strict=True):
            parameter.requires_grad_(before)
    return np.array(norms, dtype=np.float64)


def _numpy(values: torch.Tensor) -> Floats:
    return values.double().cpu().numpy()
