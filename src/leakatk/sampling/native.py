"""The native engine: many prompts and samples in one batch, one row per distinct prefix.

Each prompt is prefilled once and enters the batch as ONE row carrying all its samples. At every step each sample draws
its token from its own uniform (streams.py); a row whose samples draw different tokens splits into one row per distinct
token. With `tree=False` every sample gets its own row at its first step. Both give the same draws: a sample depends on
the model, the decoding, the seed, its prompt id and its number alone, up to floating-point ties (matrix products of
other shapes round differently; a draw that lands within that rounding of a boundary may move).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from leakatk.arrays import Bools, Floats, Ints
from leakatk.errors import InputError, ModelError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import ModuleDecoder, Pairs, prefill
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.sampling.shared_prefix import LeanDecoder, recognised
from leakatk.sampling.teacher_forcing import wrongness
from leakatk.sampling.tokens import Reader, holds_stop, prompt_tokens
from leakatk.sampling.warp import draw, effective

_BLOCK = 16  # steps of uniforms computed at a time
_YIELD = 256  # finished samples handed over at a time
_PREFILL_TOKENS = 8192
_SHARED_TOKENS = 8  # the least common beginning of all prompts that is computed once
_LOGITS_CPU, _LOGITS_GPU = 31 << 20, 1 << 30  # bytes of float32 logits made at a time ...
_DRAWN_CPU = 4 << 20  # ... and drawn from at a time, on a CPU: what stays in its cache from one operation to the next
_ROWS_CPU, _ROWS_GPU = 1024, 4096
# Share of the room that is free before new rows enter. All rows keep as many columns as the longest answer has: on a CPU,
# where few rows cost little, it is half as fast again to let a batch end; a GPU takes as long for few rows as for many.
_REFILL_CPU, _REFILL_GPU = 1.0, 0.25
_MEMORY_CPU, _MEMORY_GPU = 2.0e9, 0.5  # bytes; share of the free memory


@dataclass(slots=True)
class _Job:
    """Samples of one prompt that wait, or are in the batch."""

    prompt_id: str
    ids: list[int]
    key: npt.NDArray[np.uint32]
    samples: Ints
    peak: int = 0  # most rows it ever held
    started: int = 0  # samples it entered the batch with


@dataclass(slots=True)
class _Batch:
    """What is in flight. Arrays over samples (S,) and over rows (R,); `rows[i]` is the row sample i is on."""

    jobs: list[_Job] = field(default_factory=list)
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


class NativeSampler:
    """Samples a local transformers model. max_rows: rows in the batch ("auto": from the memory at hand; halved when it
    turns out too many, without losing samples). tree: share the rows of samples with a common prefix."""

    name = "native"

    def __init__(self, loaded: LoadedModel, *, max_rows: int | Literal["auto"] = "auto", tree: bool = True) -> None:
        if max_rows != "auto" and max_rows < 1:
            raise InputError(f"max_rows must be at least 1 or auto, got {max_rows}.")
        self.loaded, self.max_rows, self.tree = loaded, max_rows, tree
        self.rows_computed = 0  # row-steps of the last call: the model's work
        self.tokens_drawn = 0  # tokens of the last call: what the work without any sharing would be

    @property
    def notes(self) -> list[str]:
        """What a person should know of the model that is sampled."""
        return list(self.loaded.notes)

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps. Fields that cannot change a sample (rows, tree) are left out."""
        return {"engine": self.name, **self.loaded.describe()}

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, in batches, as they finish."""
        self.rows_computed = self.tokens_drawn = 0
        wanted = [request for request in requests if len(request.samples)]
        prompts = prompt_tokens(self.loaded, wanted, decoding)
        queue = deque(self._jobs(wanted, prompts, seed))
        if not queue:
            return
        reader = Reader(self.loaded.tokenizer, wanted, prompts, decoding.stop)
        longest = max(len(job.ids) for job in queue)
        rows = self._rows(longest, decoding) if self.max_rows == "auto" else self.max_rows
        rows = min(rows, sum(len(job.samples) for job in queue))  # a few greedy answers need no large cache
        ids = {job.prompt_id: job.ids for job in queue}
        checked = False
        finished: list[Generation] = []
        while queue:
            session = _Session(self, queue, decoding, rows, longest, reader)
            try:
                while session.busy:
                    finished += session.step()
                    if finished and not checked:
                        self._check(ids, finished, decoding)
                        checked = True
                    if len(finished) >= _YIELD:
                        yield finished
                        finished = []
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if rows == 1:
                    raise ModelError(
                        "Not enough memory for a single row; use a shorter prompt or a smaller model."
                    ) from error
                session.requeue()
                rows //= 2
            del session
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        if finished:
            yield finished

    def _check(self, ids: Mapping[str, Sequence[int]], finished: Sequence[Generation], decoding: Decoding) -> None:
        """ModelError when the first samples are not the model's: what it needs may not be known here."""
        off = wrongness(self.loaded, ids, finished, decoding)
        if off:
            raise ModelError(
                f"The native engine does not follow {type(self.loaded.model).__name__}: its log-probabilities differ from a "
                f"forward pass by {off:.2g} nats a token. Use --engine generate."
            )

    def _jobs(self, requests: Sequence[Request], prompts: Sequence[list[int]], seed: int) -> list[_Job]:
        """Jobs, longest prompt first, so that prompts of similar length share the batch. prompts: their token ids."""
        jobs = [
            _Job(
                request.prompt.id, ids, stream_key(seed, request.prompt.id), np.asarray(request.samples, dtype=np.int64)
            )
            for request, ids in zip(requests, prompts, strict=True)
        ]
        jobs.sort(key=lambda job: (-len(job.ids), job.prompt_id))
        return jobs

    def _rows(self, longest: int, decoding: Decoding) -> int:
        """How many rows fit: keys and values for every slot."""
        with torch.inference_mode():
            shapes = prefill(self.loaded.model, [[0]])
        slots = _slots(longest, decoding) - (longest - 1 if recognised(self.loaded.model) is not None else 0)
        need = ModuleDecoder.bytes_per_slot(shapes) * slots
        if self.loaded.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.loaded.device)
            return max(1, min(_ROWS_GPU, int(free * _MEMORY_GPU / need)))
        return max(1, min(_ROWS_CPU, int(_MEMORY_CPU / need)))


def _slots(longest: int, decoding: Decoding) -> int:
    """Slots of the cache: the longest row, and room to move on before older slots must be given back."""
    return longest + decoding.max_new_tokens + max(16, decoding.max_new_tokens // 2)


def _common(prompts: Sequence[list[int]]) -> list[int]:
    """The tokens that all prompts begin with; each has at least two more. Empty for a single prompt."""
    low, high = min(prompts), max(prompts)
    most = min(map(len, prompts)) - 2 if len(prompts) > 1 else 0
    return [a for a, _ in takewhile(lambda pair: pair[0] == pair[1], zip(low[: max(0, most)], high, strict=False))]


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)


class _Session:
    """One run through the queue with a fixed cache; ends when queue and batch are empty."""

    def __init__(
        self, sampler: NativeSampler, queue: deque[_Job], decoding: Decoding, rows: int, longest: int, reader: Reader
    ) -> None:
        self.sampler, self.queue, self.decoding, self.reader = sampler, queue, decoding, reader
        self.model, self.tokenizer = sampler.loaded.model, sampler.loaded.tokenizer
        self.device, self.max_rows = sampler.loaded.device, rows
        self.ends = np.array(sorted(sampler.loaded.end_ids), dtype=np.int64)
        self.prefix_room = longest - 1
        self.slots = _slots(longest, decoding)
        self.decoder: ModuleDecoder | LeanDecoder | None = None
        self.common = _common([job.ids for job in queue])
        self.begun: Pairs | None = None  # keys and values of the beginning that all prompts share
        self.batch = _Batch()
        self.history = np.zeros((rows, self.slots + 1), dtype=np.int64)  # token ids, in the layout of the cache
        self.refill = _REFILL_GPU if self.device.type == "cuda" else _REFILL_CPU
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
            scaled = effective(logits, decoding, None if seen is None else seen[rows])
            mine = np.flatnonzero((batch.row >= at) & (batch.row < at + len(logits)))
            token, logprob = draw(
                scaled,
                torch.as_tensor(batch.row[mine] - at, device=self.device),
                torch.as_tensor(values[mine], device=self.device),
            )
            drawn[mine] = token.cpu().numpy()
            batch.logprob[mine] += logprob.cpu().numpy()
        self.sampler.rows_computed += batch.rows
        self.sampler.tokens_drawn += len(drawn)
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

    # -- entering ------------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let waiting jobs in while their expected rows fit, once enough of the room is free."""
        batch = self.batch
        expected = max(batch.rows, self.share * len(batch.sample))
        room = self.max_rows - expected
        if not self.queue or (batch.rows and room < self.max_rows * self.refill):
            return
        entering: list[_Job] = []
        while self.queue and batch.rows + len(entering) < self.max_rows:
            job = self.queue[0]
            fit = max(1, int(room / self.share))
            if len(job.samples) > fit:
                if batch.rows or entering:
                    break
                # Larger than the whole batch: enter in parts.
                self.queue[0] = _Job(job.prompt_id, job.ids, job.key, job.samples[fit:])
                job = _Job(job.prompt_id, job.ids, job.key, job.samples[:fit])
            else:
                self.queue.popleft()
            room -= self.share * len(job.samples)
            entering.append(job)
        if entering:
            self._enter(entering)

    def _enter(self, jobs: list[_Job]) -> None:
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

    def _prefill(self, jobs: list[_Job]) -> Pairs:
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

    # -- one step ------------------------------------------------------------------------------------------------

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
        if not (self.sampler.tree or self.decoding.greedy):
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
            self.queue.appendleft(_Job(job.prompt_id, job.ids, job.key, samples))

    def requeue(self) -> None:
        """Put every unfinished sample back into the queue."""
        self._requeue(np.ones(len(self.batch.sample), dtype=np.bool_))
        self.batch = _Batch()
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
