"""Batch of the native engine: rows that enter, take a token at every step, split, and leave.

A row carries all samples that share its tokens so far; where they draw different ones it splits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch

from leakatk.arrays import Bools, Floats, Ints
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import ModuleDecoder, Pairs, common_beginning, prefill, slots_for
from leakatk.sampling.random_streams import uniforms
from leakatk.sampling.shared_prefix import LeanDecoder, recognised
from leakatk.sampling.tokens import Reader, holds_stop
from leakatk.sampling.warp import choose

_BLOCK = 16  # steps of uniforms computed at a time


_PREFILL_TOKENS = 8192


_SHARED_TOKENS = 8  # the least common beginning of all prompts that is computed once


_LOGITS_CPU, _LOGITS_GPU = 31 << 20, 1 << 30  # bytes of float32 logits made at a time ...


_DRAWN_CPU = 4 << 20  # ... and drawn from at a time, on a CPU: what stays in its cache from one operation to the next


# Share of the room that is free before new rows enter. All rows keep as many columns as the longest answer has: on a CPU,
# where few rows cost little, it is half as fast again to let a batch end; a GPU takes as long for few rows as for many.
REFILL_CPU, REFILL_GPU = 1.0, 0.25


def rows_join(device: torch.device) -> bool:
    """Whether rows enter a batch that is on its way, rather than when it has ended."""
    return (REFILL_GPU if device.type == "cuda" else REFILL_CPU) < 1


@dataclass(slots=True)
class Work:
    """What was done. rows: row-steps that the model computed.  tokens: drawn; as many rows without any sharing."""

    rows: int = 0
    tokens: int = 0


@dataclass(slots=True)
class Job:
    """Samples of one prompt that wait, or are in the batch."""

    prompt_id: str
    ids: list[int]
    key: npt.NDArray[np.uint32]
    samples: Ints
    peak: int = 0  # most rows it ever held
    started: int = 0  # samples it entered the batch with


@dataclass(slots=True)
class Batch:
    """What is in flight. Arrays over samples (S,) and over rows (R,); `rows[i]` is the row sample i is on."""

    jobs: list[Job] = field(default_factory=list)
    job: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    sample: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    row: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    logprob: Floats = field(default_factory=lambda: np.zeros(0))
    uniform: Floats = field(default_factory=lambda: np.zeros((0, _BLOCK)))
    row_job: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    start: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # first slot of the row
    drawn: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # tokens generated so far

    @property
    def rows(self) -> int:
        return len(self.row_job)

    def keep_samples(self, keep: Bools) -> None:
        self.job, self.sample, self.row = self.job[keep], self.sample[keep], self.row[keep]
        self.logprob, self.uniform = self.logprob[keep], self.uniform[keep]


class Session:
    """One run through the queue with a fixed cache; ends when queue and batch are empty."""

    def __init__(
        self,
        loaded: LoadedModel,
        queue: deque[Job],
        decoding: Decoding,
        reader: Reader,
        *,
        rows: int,
        longest: int,
        tree: bool,
        work: Work,
    ) -> None:
        """rows: most rows of the batch.  longest: tokens of the longest prompt.  tree: share rows, else one a sample.

        work: counts on.
        """
        self.queue, self.decoding, self.reader, self.tree = queue, decoding, reader, tree
        self.model, self.tokenizer = loaded.model, loaded.tokenizer
        self.device, self.max_rows = loaded.device, rows
        self.ends = np.array(sorted(loaded.end_ids), dtype=np.int64)
        self.work = work
        self.prefix_room = longest - 1
        self.slots = slots_for(longest, decoding, joining=rows_join(self.device))
        self.decoder: ModuleDecoder | LeanDecoder | None = None
        self.common = common_beginning([job.ids for job in queue])
        self.begun: Pairs | None = None  # keys and values of the beginning that all prompts share
        self.batch = Batch()
        self.history = np.zeros((rows, self.slots + 1), dtype=np.int64)  # token ids, in the layout of the cache
        self.refill = REFILL_GPU if self.device.type == "cuda" else REFILL_CPU
        self.share = 1.0  # expected rows per sample, learnt from finished jobs

    @property
    def busy(self) -> bool:
        return bool(self.queue) or self.batch.rows > 0

    @torch.inference_mode()
    def step(self) -> list[Generation]:
        """Admit what fits, feed every row one token, draw every sample's next one. Returns the samples that ended."""
        self._admit()
        decoder, batch, decoding = self.decoder, self.batch, self.decoding
        assert decoder is not None
        tokens = torch.as_tensor(self.history[: batch.rows, decoder.cursor], device=self.device)
        features = decoder.features(tokens, batch.start, batch.drawn, batch.row_job)
        seen = self._seen() if decoding.repetition_penalty != 1 else None
        values = self._uniforms()
        drawn = np.empty(len(values), dtype=np.int64)
        for at, logits in self._logits(features):
            rows = slice(at, at + len(logits))
            mine = np.flatnonzero((batch.row >= at) & (batch.row < at + len(logits)))
            token, logprob = choose(
                logits,
                decoding,
                torch.as_tensor(batch.row[mine] - at, device=self.device),
                torch.as_tensor(values[mine], device=self.device),
                None if seen is None else seen[rows],
            )
            drawn[mine] = token.cpu().numpy()
            batch.logprob[mine] += logprob.cpu().numpy()
        self.work.rows += batch.rows
        self.work.tokens += len(drawn)
        return self._advance(drawn)

    def _logits(self, features: torch.Tensor) -> Iterator[tuple[int, torch.Tensor]]:
        """The logits of all rows in pieces, each with the number of its first row."""
        assert self.decoder is not None
        on_gpu = self.device.type == "cuda"
        row = 4 * int(self.model.config.get_text_config().vocab_size)
        many = max(1, (_LOGITS_GPU if on_gpu else _LOGITS_CPU) // row)
        few = many if on_gpu else max(1, _DRAWN_CPU // row)
        for at in range(0, len(features), many):
            logits = self.decoder.logits(features[at : at + many])
            for inner in range(0, len(logits), few):
                yield at + inner, logits[inner : inner + few]

    def _admit(self) -> None:
        """Let waiting jobs in while their expected rows fit, once enough of the room is free."""
        batch = self.batch
        expected = max(batch.rows, self.share * len(batch.sample))
        room = self.max_rows - expected
        if not self.queue or (batch.rows and room < self.max_rows * self.refill):
            return
        entering: list[Job] = []
        while self.queue and batch.rows + len(entering) < self.max_rows:
            job = self.queue[0]
            fit = max(1, int(room / self.share))
            if len(job.samples) > fit:
                if batch.rows or entering:
                    break
                # Larger than the whole batch: enter in parts.
                self.queue[0] = Job(job.prompt_id, job.ids, job.key, job.samples[fit:])
                job = Job(job.prompt_id, job.ids, job.key, job.samples[:fit])
            else:
                self.queue.popleft()
            room -= self.share * len(job.samples)
            entering.append(job)
        if entering:
            self._enter(entering)

    def _enter(self, jobs: list[Job]) -> None:
        batch = self.batch
        width = max(1, max(len(job.ids) - 1 for job in jobs))
        chunk = max(1, _PREFILL_TOKENS // width)
        row = batch.rows
        first_row, first_job = row, len(batch.jobs)
        for at in range(0, len(jobs), chunk):
            part = jobs[at : at + chunk]
            prefix = self._prefill(part)
            if self.decoder is None:
                self.decoder = self._make_decoder(prefix)
            if batch.rows == 0 and at == 0:
                self.decoder.cursor = self.decoder.begin
            self.decoder.enter(row, prefix, [len(job.ids) - 1 for job in part])
            for job in part:
                start = self.decoder.cursor - len(job.ids) + 1
                self.history[row, :start] = job.ids[0]
                self.history[row, start : self.decoder.cursor + 1] = job.ids
                row += 1
        assert self.decoder is not None
        counts = [len(job.samples) for job in jobs]
        for job in jobs:
            job.started = len(job.samples)
        batch.jobs += jobs
        numbers = np.arange(len(jobs))
        batch.job = np.concatenate([batch.job, np.repeat(first_job + numbers, counts)])
        batch.sample = np.concatenate([batch.sample, *(job.samples for job in jobs)])
        batch.row = np.concatenate([batch.row, np.repeat(first_row + numbers, counts)])
        batch.logprob = np.concatenate([batch.logprob, np.zeros(sum(counts))])
        batch.uniform = np.concatenate([batch.uniform, np.zeros((sum(counts), _BLOCK))])
        batch.row_job = np.concatenate([batch.row_job, first_job + numbers])
        batch.start = np.concatenate([batch.start, self.decoder.cursor + 1 - np.array([len(job.ids) for job in jobs])])
        batch.drawn = np.concatenate([batch.drawn, np.zeros(len(jobs), np.int64)])

    def _prefill(self, jobs: list[Job]) -> Pairs:
        """The last token of a prompt is fed by the first step; a prompt of one token is prefilled only for its shape."""
        prefixes = [job.ids[:-1] or job.ids for job in jobs]
        if len(self.common) < _SHARED_TOKENS:
            return prefill(self.model, prefixes)
        if self.begun is None:
            self.begun = prefill(self.model, [self.common])
        return prefill(self.model, prefixes, self.begun)

    def _make_decoder(self, shapes: Pairs) -> ModuleDecoder | LeanDecoder:
        base = recognised(self.model)
        if base is not None:
            return LeanDecoder(base, shapes, self.max_rows, self.slots, self.prefix_room)
        return ModuleDecoder(self.model, shapes, self.max_rows, self.slots, self.prefix_room)

    def _uniforms(self) -> Floats:
        """Each sample's uniform for its own step."""
        batch = self.batch
        steps = batch.drawn[batch.row]
        if not self.decoding.greedy:
            stale = np.flatnonzero(steps % _BLOCK == 0)
            if len(stale):
                keys = np.stack([job.key for job in batch.jobs])[batch.job[stale]]
                batch.uniform[stale] = uniforms(keys, batch.sample[stale], steps[stale], _BLOCK)
        values: Floats = batch.uniform[np.arange(len(steps)), steps % _BLOCK]
        return values

    def _seen(self) -> torch.Tensor:
        """Prompt and answer of each row, (R, slots in use); slots before a row's start repeat its first token."""
        decoder, batch = self.decoder, self.batch
        assert decoder is not None
        used = slice(int(batch.start.min()), decoder.cursor + 1)
        return torch.as_tensor(self.history[: batch.rows, used], device=self.device)

    def _advance(self, token: Ints) -> list[Generation]:
        """Split rows by the drawn tokens, take out what ended, and move the cursor on."""
        batch = self.batch
        key = batch.row * (int(token.max()) + 1) + token
        if not (self.tree or self.decoding.greedy):
            # One child a sample: the sample's position makes its key unique.
            key = key * len(key) + np.arange(len(key))
        _, first, child = np.unique(key, return_index=True, return_inverse=True)
        parent, new = batch.row[first], token[first]
        length = batch.drawn[parent] + 1
        ended = np.isin(new, self.ends)
        stopped = np.zeros_like(ended)
        if self.decoding.stop:
            answers = [self._answer(row, id) for row, id in zip(parent, new, strict=True)]
            stopped = holds_stop(self.tokenizer, answers, self.decoding.stop) & ~ended
        out = ended | stopped | (length >= self.decoding.max_new_tokens)
        finished = self._collect(child, out, parent, new, ended, ended | stopped)

        batch.keep_samples(~out[child])
        child = child[~out[child]]
        live = np.flatnonzero(~out)
        if len(live) > self.max_rows:
            live, child = self._turn_away(live, parent, length, child)
        number = np.full(len(out), -1, dtype=np.int64)
        number[live] = np.arange(len(live))
        self._place(parent[live], new[live], number[child])
        self._retire()
        return finished

    def _collect(self, child: Ints, out: Bools, parent: Ints, new: Ints, ended: Bools, stop: Bools) -> list[Generation]:
        """The generations of the children that end here; text and token ids are made once per child."""
        batch = self.batch
        leaves = np.flatnonzero(out)
        if len(leaves) == 0:
            return []
        ids = [self._answer(parent[leaf], new[leaf]) for leaf in leaves]
        answers = [tokens[:-1] if ended[leaf] else tokens for leaf, tokens in zip(leaves, ids, strict=True)]
        asked = [batch.jobs[batch.row_job[parent[leaf]]].prompt_id for leaf in leaves]
        said = self.reader.read(asked, answers)
        place = {int(leaf): i for i, leaf in enumerate(leaves)}
        finished = []
        for at in np.flatnonzero(out[child]):
            leaf = int(child[at])
            i = place[leaf]
            finished.append(
                Generation(
                    prompt_id=batch.jobs[batch.job[at]].prompt_id,
                    sample=int(batch.sample[at]),
                    text=said[i][1],
                    token_ids=ids[i],
                    logprob=float(batch.logprob[at]),
                    finish_reason="stop" if stop[leaf] else "length",
                    reasoning=said[i][0],
                )
            )
        return finished

    def _answer(self, row: int, token: int) -> tuple[int, ...]:
        decoder = self.decoder
        assert decoder is not None
        past = self.history[row, decoder.cursor + 1 - self.batch.drawn[row] : decoder.cursor + 1]
        return (*past.tolist(), int(token))

    def _turn_away(self, live: Ints, parent: Ints, length: Ints, child: Ints) -> tuple[Ints, Ints]:
        """More rows than there is room for: the rows furthest on stay, the samples of the others wait for their turn.

        Nothing is lost but work: a sample draws the same tokens when it starts again.
        """
        batch = self.batch
        self.share = 1.0
        order = np.lexsort((live, batch.row_job[parent[live]], -length[live]))
        stay = np.zeros(len(parent), dtype=np.bool_)
        stay[live[order[: self.max_rows]]] = True
        self._requeue(~stay[child])
        batch.keep_samples(stay[child])
        return live[stay[live]], child[stay[child]]

    def _requeue(self, which: Bools) -> None:
        batch = self.batch
        for index in np.unique(batch.job[which]):
            job = batch.jobs[index]
            samples = batch.sample[which & (batch.job == index)]
            job.started -= len(samples)
            self.queue.appendleft(Job(job.prompt_id, job.ids, job.key, samples))

    def requeue(self) -> None:
        """Put every unfinished sample back into the queue."""
        self._requeue(np.ones(len(self.batch.sample), dtype=np.bool_))
        self.batch = Batch()
        self.decoder = None

    def _place(self, parent: Ints, token: Ints, child: Ints) -> None:
        """Give the children their rows: the first child of a row stays on it, the others and the rows beyond the new
        end move into free rows, so that the live rows are always 0 .. R - 1."""
        batch, decoder = self.batch, self.decoder
        assert decoder is not None
        count = len(parent)
        _, first = np.unique(parent, return_index=True)
        stays = np.zeros(count, dtype=np.bool_)
        stays[first] = parent[first] < count
        free = np.setdiff1d(np.arange(count), parent[stays], assume_unique=True)
        target = parent.copy()
        target[~stays] = free
        source = parent[~stays]
        batch.row = target[child]
        at = np.empty(count, dtype=np.int64)
        at[target] = np.arange(count)  # row -> child
        batch.row_job, batch.start = batch.row_job[parent[at]], batch.start[parent[at]]
        batch.drawn = batch.drawn[parent[at]] + 1
        if len(free):
            decoder.copy(source, free)
            self.history[free] = self.history[source]
        if count == 0:
            return
        decoder.cursor += 1
        self.history[target, decoder.cursor] = token
        if decoder.cursor == decoder.slots:
            by = decoder.make_room(batch.start, batch.drawn)
            self.history[:count, : self.slots + 1 - by] = self.history[:count, by:].copy()
            batch.start -= by

    def _retire(self) -> None:
        """Forget jobs whose samples are all out, and learn how many rows a sample took."""
        batch = self.batch
        rows = np.bincount(batch.row_job, minlength=len(batch.jobs))
        present = np.bincount(batch.job, minlength=len(batch.jobs)) > 0
        for job, count in zip(batch.jobs, rows, strict=True):
            job.peak = max(job.peak, int(count))
        done = [job for job, there in zip(batch.jobs, present, strict=True) if not there and job.started > 0]
        for job in done:
            self.share = min(1.0, 0.8 * self.share + 0.2 * 1.1 * job.peak / job.started)
        if not present.all():
            number = np.cumsum(present) - 1
            batch.jobs = [job for job, there in zip(batch.jobs, present, strict=True) if there]
            batch.job, batch.row_job = number[batch.job], number[batch.row_job]
            assert self.decoder is not None
            self.decoder.leave(np.flatnonzero(present))
