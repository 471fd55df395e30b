"""Requests that come one after the other: what is learned for one is not learned again when the next comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from leakatk.errors import InputError
from leakatk.guards.base import Floats, Guard
from leakatk.prompts import Prompt
from leakatk.runs.manifest import prompts_hash
from leakatk.unlearning.requests import split

Learned = tuple[Floats, ...]  # what is learned for one request


def requests_of(prompts: Sequence[Prompt], count: int) -> list[list[Prompt]]:
    """The prompts as `count` requests of nearly equal size, in order; 0: one for each run of prompts of one source.

    InputError for more requests than prompts.

    >>> [len(part) for part in requests_of([Prompt(str(i), "?", "a", source="ab"[i > 0]) for i in range(3)], 0)]
    [1, 2]
    """
    if count:
        return split(prompts, count)
    return [list(some) for _, some in groupby(prompts, key=lambda prompt: prompt.source)]


def continued(
    hashes: Sequence[str],
    learned: Sequence[Learned],
    requests: Sequence[Sequence[Prompt]],
    learn: Callable[[Sequence[Prompt], Sequence[Learned]], Learned],
) -> tuple[tuple[str, ...], tuple[Learned, ...]]:
    """(hash of each request, what is learned for each).

    hashes, learned: of requests that were met before. Those with which the new ones begin keep what was learned for them.
    learn: (prompts of a request, in the order of their ids; what was learned for all before it) -> what is learned for it.
    """
    now = tuple(map(prompts_hash, requests))
    same = 0
    while same < min(len(now), len(hashes)) and now[same] == hashes[same]:
        same += 1
    found = list(learned[:same])
    for prompts in requests[same:]:
        found.append(learn(sorted(prompts, key=lambda prompt: prompt.id), tuple(found)))
    return now, tuple(found)


def in_turn(guard: Guard, place: str) -> Guard:
    """The fitted guard, to go on from. InputError unless it learns requests in turn. place: where it lies."""
    if not hasattr(guard.action, "learned"):
        raise InputError(
            f"The guard {guard.name} in {place} does not learn requests in turn; give its name to fit it anew on all prompts."
        )
    return guard


def kept_of(before: Guard, now: Guard) -> str:
    """How many requests of a guard were known to it before, as "2 of 3"."""
    actions: list[Any] = [before.action, now.action]
    known, all_ = ([id(parts) for parts in action.learned] for action in actions)
    return f"{len(set(known) & set(all_))} of {len(all_)}"
