"""Batches of prompts and answers as tensors: which rows are drawn, which of them differ, how they are best run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from leakatk.unlearning.losses.token import IGNORE


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt and one answer, as token ids; the answer carries the end token."""

    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.answer)


@dataclass(frozen=True)
class Batch:
    """Prompts padded on the left and answers on the right, so every answer starts at column `start`.

    input_ids, attention_mask, position_ids: (B, start + T).  labels: (B, T), -100 beyond an answer's end.
    rows: the items' numbers in their stream, a number twice where a row was drawn twice.
    """

    rows: tuple[int, ...]
    items: tuple[Item, ...]
    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor
    start: int


def collate(items: Sequence[Item], rows: Sequence[int], device: torch.device) -> Batch:
    start = max(len(item.prompt) for item in items)
    length = max(len(item.answer) for item in items)
    ids = torch.zeros(len(items), start + length, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full((len(items), length), IGNORE)
    for i, item in enumerate(items):
        first, end = start - len(item.prompt), start + len(item.answer)
        ids[i, first:end] = torch.tensor(item.prompt + item.answer)
        mask[i, first:end] = 1
        labels[i, : len(item.answer)] = torch.tensor(item.answer)
    positions = (mask.cumsum(-1) - 1).clamp_min(0)
    there = (ids.to(device), mask.to(device), positions.to(device), labels.to(device))
    return Batch(tuple(rows), tuple(items), *there, start)


def by_length(lengths: Sequence[int], overhead: int, most: int = 0) -> list[list[int]]:
    """The numbers of the sequences in groups to be run one after the other, each padded to its own longest.

    lengths: tokens of each sequence.
    overhead: what one more pass through the model costs, in tokens; the sum of all groups' padded tokens and overheads is
        as small as it can be.
    most: padded tokens of a group at most, where it has more than one sequence; 0: no limit.
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    best: list[tuple[int, int]] = [(0, 0)]  # cost of the first `end` of the order, and where their last group begins
    for end in range(1, len(order) + 1):
        best.append(
            min(
                (best[begin][0] + (end - begin) * lengths[order[begin]] + overhead, begin)
                for begin in range(end)
                if not most or end - begin == 1 or (end - begin) * lengths[order[begin]] <= most
            )
        )
    groups: list[list[int]] = []
    end = len(order)
    while end:
        begin = best[end][1]
        groups.append(order[begin:end])
        end = begin
    return groups[::-1]
