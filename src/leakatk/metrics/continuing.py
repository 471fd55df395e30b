"""Greedy continuations of given tokens."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from leakatk.models.checks import check_positions
from leakatk.models.loaded import LoadedModel
from leakatk.sampling.kv_cache import cache_keyword

_BATCH_TOKENS = 8192
_BATCH_LOGITS = 1 << 24  # float32 logits held at once


@torch.inference_mode()
def greedy_continuations(loaded: LoadedModel, asked: Sequence[tuple[Sequence[int], int]]) -> list[list[int]]:
    """For each (ids, count): at most `count` ids that follow, each the most likely one; the end token is not among them.

    Batched by length, the shorter beginnings padded on the left.
    """
    results: list[list[int]] = [[] for _ in asked]
    order = sorted((i for i, (_, count) in enumerate(asked) if count > 0), key=lambda i: -len(asked[i][0]))
    takes = inspect.signature(loaded.model.forward).parameters
    vocabulary = int(loaded.model.config.get_text_config().vocab_size)
    at = 0
    while at < len(order):
        width = len(asked[order[at]][0]) + max(asked[i][1] for i in order[at:])
        rows = _BATCH_TOKENS // width
        if "logits_to_keep" not in takes:
            rows = min(rows, _BATCH_LOGITS // (vocabulary * width))
        part = order[at : at + max(1, rows)]
        at += len(part)
        for index, said in zip(part, _batch(loaded, [asked[i] for i in part], set(takes)), strict=True):
            results[index] = said
    return results


def _batch(loaded: LoadedModel, asked: Sequence[tuple[Sequence[int], int]], takes: set[str]) -> list[list[int]]:
    width, steps = max(len(ids) for ids, _ in asked), max(count for _, count in asked)
    check_positions(loaded.model, max(len(ids) + count for ids, count in asked), "A text with its continuation")
    tokens = torch.zeros((len(asked), width), dtype=torch.long)
    mask = torch.zeros_like(tokens)
    for row, (ids, _) in enumerate(asked):
        tokens[row, width - len(ids) :] = torch.tensor(list(ids))
        mask[row, width - len(ids) :] = 1
    tokens, mask = tokens.to(loaded.device), mask.to(loaded.device)
    ends, kept = loaded.end_ids, {cache_keyword(loaded.model): DynamicCache()}
    said: list[list[int]] = [[] for _ in asked]
    going = [True] * len(asked)
    for _ in range(steps):
        options: dict[str, Any] = {"logits_to_keep": 1} if "logits_to_keep" in takes else {}
        if "position_ids" in takes:
            options["position_ids"] = (mask.cumsum(-1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
        out = loaded.model(input_ids=tokens, attention_mask=mask, use_cache=True, **kept, **options)
        best = out.logits[:, -1].argmax(-1)
        for row, token in enumerate(best.tolist()):
            going[row] = going[row] and token not in ends
            if going[row]:
                said[row].append(token)
                going[row] = len(said[row]) < asked[row][1]
        if not any(going):
            break
        tokens = best[:, None]
        mask = torch.cat([mask, torch.ones_like(tokens)], dim=1)
    return said
