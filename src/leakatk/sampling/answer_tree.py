"""Exact expansion of the answer tree, most probable prefix first: leak probabilities without sampling noise.

Every answer is a path from the prompt to an end. Expanding a prefix (one forward pass of one token) gives the exact
probability of each of its continuations, so after a budget of prefixes a set of distinct whole answers is known with
their probabilities. Whatever a scorer says of them, the mass of the leaking ones bounds the leak probability of one
sample from below and one minus the mass of the others from above (`estimate.exact.probability_bounds`); the gap is the
mass not yet expanded. Exact up to the rounding of the model's own arithmetic. Our construction.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count, groupby, repeat

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from leakatk.arrays import Ints
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.progress import Progress
from leakatk.prompts import Prompt
from leakatk.sampling.base import Answer as Answer
from leakatk.sampling.base import Expands, InProcess, Request, Sampler, check_budget, check_expands
from leakatk.sampling.base import Expansion as Expansion
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import ModuleDecoder, cache_keyword, prefill
from leakatk.sampling.tokens import Reader, holds_stop, prompt_tokens
from leakatk.sampling.warp import effective, histories, log_probs

_ROWS = 8  # prefixes of one prompt expanded at a time: few, so that the best-first order is kept ...
PROMPTS_AT_ONCE = 32  # ... and prompts expanded side by side: many, so that the batch is full
_CHILDREN = 256  # continuations of a prefix that are followed; the mass of the others stays unexpanded
_LEAST = 10.0  # what is less probable than _LEAST * unknown / budget is not followed, nor kept as an answer
_SPREAD = 2.0  # a prompt's rows reach down to e^-2 of its most probable prefix
_MEMORY = 2.0e9  # bytes of keys and values held at once


def expand(
    loaded: LoadedModel,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    *,
    budget: int = 1000,
    unknown: float = 1e-4,
    keep: Callable[[Sequence[Expansion]], None] | None = None,
    quiet: bool = True,
) -> list[Expansion]:
    """Expand each prompt's answer tree until `budget` prefixes are computed or at most `unknown` of the mass is left.

    An answer of L tokens and probability p is found once the budget exceeds about L / p. Peaked models close within
    hundreds of prefixes, flat ones hardly move. Raises InputError for a budget below 1, one whose keys and values cannot fit
    into memory, or a prompt without tokens, and ModelError for a model without keys and values in every layer.
    keep: called with those of a group of prompts when they are finished.
    """
    check_budget(budget)
    check_memory(loaded, budget)
    found: list[Expansion] = []
    with Progress("expanding", budget * len(prompts), unit="prefixes", quiet=quiet) as progress:
        while len(found) < len(prompts):
            some = prompts[len(found) : len(found) + PROMPTS_AT_ONCE]
            done = expand_group(loaded, some, decoding, budget, unknown, progress)
            found += done
            if keep is not None:
                keep(done)
    return found


@torch.inference_mode()
def check_memory(loaded: LoadedModel, budget: int) -> None:
    """InputError for a budget whose keys and values, those of one prompt, cannot fit."""
    need, room = budget * ModuleDecoder.bytes_per_slot(prefill(loaded.model, [[0]])), memory_of(loaded.device)
    if need > room:
        raise InputError(
            f"{budget:,} prefixes of one prompt can take {need / 1e9:,.0f} GB of keys and values, and there are {room / 1e9:.0f} GB "
            "in all: lower --expand."
        )


def memory_of(device: torch.device) -> float:
    """Bytes that the device has in all; infinite where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[1])
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return math.inf


def expansions_of(
    sampler: Sampler,
    prompts: Sequence[Prompt],
    decoding: Decoding,
    budget: int,
    *,
    keep: Callable[[Sequence[Expansion]], None] | None = None,
    quiet: bool = True,
) -> list[Expansion]:
    """`expand`, where the sampler's model is; elsewhere all are kept at the end. InputError for an engine that cannot."""
    check_expands(sampler)
    if isinstance(sampler, Expands):
        found = sampler.expand(prompts, decoding, budget)
        if keep is not None:
            keep(found)
        return found
    assert isinstance(sampler, InProcess)
    return expand(sampler.loaded, prompts, decoding, budget=budget, keep=keep, quiet=quiet)


@torch.inference_mode()
def expand_group(
    loaded: LoadedModel, prompts: Sequence[Prompt], decoding: Decoding, budget: int, unknown: float, progress: Progress
) -> list[Expansion]:
    """As many of the prompts as fit into memory, side by side."""
    trees = [_Tree(loaded, prompt, decoding, budget, unknown) for prompt in prompts]
    store = _Store()
    for number, tree in enumerate(trees):
        tree.begin(store)
        if store.bytes_per_entry * (number + 2) * (budget + len(tree.ids)) > _MEMORY:
            trees = trees[: number + 1]
            break
    while rows := [(tree, prefix) for tree in trees for prefix in tree.next()]:
        logits, entries = forward(loaded, rows, store)
        logp = log_probs(_warped(logits, rows, decoding))
        at = 0
        for tree, group in groupby(rows, key=lambda row: row[0]):
            prefixes = [prefix for _, prefix in group]
            tree.branch(prefixes, logp[at : at + len(prefixes)], entries[at : at + len(prefixes)])
            at += len(prefixes)
        progress.advance(len(rows))
    progress.total -= sum(budget - tree.done for tree in trees)  # those that closed early
    return [tree.result() for tree in trees]


@dataclass(slots=True)
class _Prefix:
    """An answer begun: its last token has not been fed to the model yet. path: cache entries of all before it."""

    tokens: tuple[int, ...]
    path: Ints
    logprob: float


class _Store:
    """Keys and values of single tokens, shared by every path that runs through them: (entries, heads, size) a layer."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []
        self.used = self.room = 0

    def add(self, new: Sequence[tuple[Tensor, Tensor]]) -> Ints:
        """Append one entry a row; returns their numbers."""
        rows = len(new[0][0])
        if self.used + rows > self.room:
            self.room = max(2 * self.room, self.used + rows)
            self.layers = [
                (_grown(old[0], self.room, key), _grown(old[1], self.room, value))
                for old, (key, value) in zip(self.layers or repeat((None, None)), new, strict=False)
            ]
        place = slice(self.used, self.used + rows)
        for (keys, values), (key, value) in zip(self.layers, new, strict=True):
            keys[place], values[place] = key, value
        self.used += rows
        return np.arange(place.start, place.stop)

    @property
    def bytes_per_entry(self) -> int:
        return sum(x[0].numel() * x.element_size() for pair in self.layers for x in pair)


def _grown(old: Tensor | None, room: int, like: Tensor) -> Tensor:
    larger = like.new_zeros((room, *like.shape[1:]))
    if old is not None:
        larger[: len(old)] = old
    return larger


def forward(loaded: LoadedModel, rows: Sequence[tuple[_Tree, _Prefix]], store: _Store) -> tuple[Tensor, Ints]:
    """Feed each prefix its last token: logits (rows, V), and the new cache entries."""
    device = loaded.device
    width = max(len(prefix.path) for _, prefix in rows)
    place = np.zeros((len(rows), width), dtype=np.int64)
    seen = np.zeros((len(rows), width + 1), dtype=np.bool_)
    seen[:, -1] = True
    for row, (_, prefix) in enumerate(rows):
        if len(prefix.path):
            place[row, -len(prefix.path) :] = prefix.path
            seen[row, -len(prefix.path) - 1 :] = True
    cache = DynamicCache()
    if width:
        index = torch.as_tensor(place, device=device)
        for layer, (keys, values) in enumerate(store.layers):
            cache.update(keys[index].transpose(1, 2), values[index].transpose(1, 2), layer)
    output = loaded.model(
        input_ids=torch.tensor([[(*tree.ids, *prefix.tokens)[-1]] for tree, prefix in rows], device=device),
        attention_mask=torch.as_tensor(seen, device=device),
        position_ids=torch.tensor([[len(prefix.path)] for _, prefix in rows], device=device),
        use_cache=True,
        logits_to_keep=1,
        **{cache_keyword(loaded.model): cache},
    )
    entries = store.add([(layer.keys[:, :, -1], layer.values[:, :, -1]) for layer in cache.layers])
    return output.logits[:, -1], entries


def _warped(logits: Tensor, rows: Sequence[tuple[_Tree, _Prefix]], decoding: Decoding) -> Tensor:
    if decoding.repetition_penalty == 1:
        return effective(logits, decoding)
    history = histories([(*tree.ids, *prefix.tokens) for tree, prefix in rows])
    return effective(logits, decoding, history.to(logits.device))


class _Tree:
    """The answers of one prompt: those complete, and the prefixes still open."""

    def __init__(self, loaded: LoadedModel, prompt: Prompt, decoding: Decoding, budget: int, unknown: float) -> None:
        self.loaded, self.prompt, self.decoding = loaded, prompt, decoding
        self.budget, self.unknown = budget, unknown
        self.least = math.log(_LEAST * unknown / budget) if unknown > 0 else -math.inf
        request = Request(prompt, ())
        self.ids = prompt_tokens(loaded, [request], decoding)[0]
        self.reader = Reader(loaded.tokenizer, [request], [self.ids], decoding.stop)
        self.ends = torch.tensor(sorted(loaded.end_ids), dtype=torch.long, device=loaded.device)
        self.open: list[tuple[float, int, _Prefix]] = []
        self.number = count()  # breaks ties in the heap
        self.whole: list[tuple[tuple[int, ...], float]] = []
        self.mass = 0.0
        self.done = 0

    def begin(self, store: _Store) -> None:
        """Compute the prompt, all but its last token: that is fed by the first expansion."""
        path = np.empty(0, dtype=np.int64)
        if len(self.ids) > 1:
            prefix = prefill(self.loaded.model, [self.ids[:-1]])
            path = store.add([(keys[0].transpose(0, 1), values[0].transpose(0, 1)) for keys, values in prefix])
        self._push(_Prefix((), path, 0.0))

    def _push(self, prefix: _Prefix) -> None:
        heapq.heappush(self.open, (-prefix.logprob, next(self.number), prefix))

    def next(self) -> list[_Prefix]:
        """The most probable open prefixes, as far as the budget goes; those that a stop string ended become answers."""
        taken: list[_Prefix] = []
        rows = min(_ROWS, self.budget - self.done)
        while self.open and len(taken) < rows and 1 - self.mass > self.unknown:
            # The rows must not go to prefixes that the best one's own continuations would come before.
            if taken and self.open[0][0] > _SPREAD - taken[0].logprob:
                break
            prefix = heapq.heappop(self.open)[2]
            if self.decoding.stop and prefix.tokens and self._stopped(prefix.tokens):
                self._finish(prefix.tokens, prefix.logprob)
            else:
                taken.append(prefix)
        self.done += len(taken)
        if len(self.open) > 8 * self.budget:
            self.open = heapq.nsmallest(4 * self.budget, self.open)
        return taken

    def branch(self, rows: Sequence[_Prefix], logp: Tensor, entries: Ints) -> None:
        """Whole answers are kept, the others wait for their turn."""
        ends = logp[:, self.ends].cpu().numpy()
        logp[:, self.ends] = -math.inf
        best = logp.topk(min(_CHILDREN, logp.shape[1]), dim=1)
        values, tokens = best.values.cpu().numpy(), best.indices.cpu().numpy()
        names = self.ends.tolist()
        for row, prefix in enumerate(rows):
            for name, value in zip(names, ends[row], strict=True):
                if value > -math.inf and prefix.logprob + value >= self.least:
                    self._finish((*prefix.tokens, name), prefix.logprob + float(value))
            path = np.append(prefix.path, entries[row])
            last = len(prefix.tokens) + 1 >= self.decoding.max_new_tokens
            for token, value in zip(tokens[row].tolist(), values[row].tolist(), strict=True):
                if value == -math.inf or prefix.logprob + value < self.least:
                    break
                answer = (*prefix.tokens, token)
                if last:
                    self._finish(answer, prefix.logprob + value)
                else:
                    self._push(_Prefix(answer, path, prefix.logprob + value))

    def _finish(self, tokens: tuple[int, ...], logprob: float) -> None:
        self.whole.append((tokens, logprob))
        self.mass += math.exp(logprob)

    def _stopped(self, tokens: tuple[int, ...]) -> bool:
        return bool(holds_stop(self.loaded.tokenizer, [tokens], self.decoding.stop)[0])

    def result(self) -> Expansion:
        whole = sorted(self.whole, key=lambda found: -found[1])
        ends = self.loaded.end_ids
        said = [ids[:-1] if ids[-1] in ends else ids for ids, _ in whole]
        texts = [text for _, text in self.reader.read([self.prompt.id] * len(said), said)]
        answers = tuple(Answer(ids, text, logprob) for (ids, logprob), text in zip(whole, texts, strict=True))
        return Expansion(self.prompt.id, answers, min(1.0, self.mass), self.done)
