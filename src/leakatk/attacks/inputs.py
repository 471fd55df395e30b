"""Inputs of a model as vectors: the surprise of answers as a function of the embeddings that stand before them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leakatk.errors import ModelError
from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.models.token_stats import token_stats
from leakatk.prompts import Prompt, Query

Pair = tuple[Sequence[int], Sequence[int]]
Change = Callable[[Tensor, Tensor], Tensor]  # ids (B, T), their embeddings (B, T, d) -> embeddings of the same shape


def pairs_of(loaded: LoadedModel, asked: Sequence[tuple[Query, str]]) -> list[Pair]:
    """(prompt ids, answer ids) of each question and answer in the model's own template; the answer without its end token."""
    seams = [loaded.template.pair(loaded.tokenizer, query, answer, end=False) for query, answer in asked]
    return [(seam.prompt, seam.answer) for seam in seams]


def surprises(loaded: LoadedModel, asked: Sequence[tuple[Query, str]]) -> list[float]:
    """Mean -log p of the tokens of each answer, without a gradient."""
    return [-float(stats.logprob.mean()) for stats in token_stats(loaded, pairs_of(loaded, asked))]


def surprise(loaded: LoadedModel, pairs: Sequence[Pair], change: Change) -> Tensor:
    """Mean over the pairs of the mean -log p of the answer's tokens, where the model reads change(ids, embeddings).

    It has a gradient with respect to what `change` puts in. Weights are left as they are, with no gradient kept at them.
    """
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    check_positions(loaded.model, width, "A prompt with its answer")
    ids = torch.zeros((len(pairs), width), dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor([*prompt, *answer])
        mask[row, : len(prompt) + len(answer)] = 1
    ids, mask = ids.to(loaded.device), mask.to(loaded.device)
    vectors = change(ids, embedding_of(loaded)(ids).detach())
    logits = loaded.model(inputs_embeds=vectors, attention_mask=mask, use_cache=False).logits
    losses = []
    for row, (prompt, answer) in enumerate(pairs):
        # The logits at position t predict token t + 1.
        said = logits[row, len(prompt) - 1 : len(prompt) - 1 + len(answer)].float()
        losses.append(torch.nn.functional.cross_entropy(said, ids[row, len(prompt) : len(prompt) + len(answer)]))
    return torch.stack(losses).mean()


def embedding_of(loaded: LoadedModel) -> torch.nn.Embedding:
    """The model's input embedding. ModelError where it does not show one."""
    try:
        found = loaded.model.get_input_embeddings()
    except (AttributeError, NotImplementedError):
        found = None
    if not isinstance(found, torch.nn.Embedding):
        raise ModelError(
            f"{type(loaded.model).__name__} does not show its input embedding; leave out attacks that search there."
        )
    return found


def plain_tokens(loaded: LoadedModel) -> list[int]:
    """Token ids that stand for printable text of their own: no special or added token, no blank, no piece of a character."""
    tokenizer = loaded.tokenizer
    left_out = {*tokenizer.all_special_ids, *map(int, getattr(tokenizer, "added_tokens_decoder", {}))}
    most = min(len(tokenizer), embedding_of(loaded).num_embeddings)
    ids = [number for number in range(most) if number not in left_out]
    texts = tokenizer.batch_decode([[number] for number in ids], clean_up_tokenization_spaces=False)
    return [
        number
        for number, text in zip(ids, texts, strict=True)
        if text.strip() and text.strip().isprintable() and "\ufffd" not in text
    ]


def asked_with(prompt: Prompt, text: str) -> Query:
    """The prompt's query with another text; turns and a begun answer stay."""
    return Query(text, prompt.query.turns, prompt.query.begin)
