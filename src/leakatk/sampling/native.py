"""Native engine: many prompts and samples in one batch, one row per distinct prefix.

Each prompt is prefilled once and enters the batch as ONE row carrying all its samples. At every step each sample draws
its token from its own uniform (streams.py); a row whose samples draw different tokens splits into one row per distinct
token. With `tree=False` every sample gets its own row at its first step. Both give the same draws: a sample depends on
the model, the decoding, the seed, its prompt id and its number alone, up to floating-point ties (matrix products of
other shapes round differently; a draw that lands within that rounding of a boundary may move).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch

from leakatk.errors import InputError, ModelError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import ModuleDecoder, prefill, slots_for
from leakatk.sampling.layer_products import packable
from leakatk.sampling.native_batch import Job, Session, Work, rows_join
from leakatk.sampling.random_streams import stream_key
from leakatk.sampling.shared_prefix import recognised
from leakatk.sampling.teacher_forcing import wrongness
from leakatk.sampling.tokens import Reader, prompt_tokens

YIELD = 256  # finished samples handed over at a time
_ROWS_CPU, _ROWS_GPU = 1024, 4096
MEMORY_CPU, MEMORY_GPU = 2.0e9, 0.5  # bytes; share of the free memory


class NativeSampler:
    """Samples a local transformers model. max_rows: rows in the batch ("auto": from the memory at hand; halved when it
    turns out too many, without losing samples). tree: share the rows of samples with a common prefix."""

    name = "native"

    def __init__(self, loaded: LoadedModel, *, max_rows: int | Literal["auto"] = "auto", tree: bool = True) -> None:
        if max_rows != "auto" and max_rows < 1:
            raise InputError(f"max_rows must be at least 1 or auto, got {max_rows}.")
        self.loaded, self.max_rows, self.tree = loaded, max_rows, tree
        self.work = Work()

    @property
    def rows_computed(self) -> int:
        """Row-steps of the last call: the model's work."""
        return self.work.rows

    @property
    def tokens_drawn(self) -> int:
        """Tokens of the last call: what the work without any sharing would be."""
        return self.work.tokens

    @property
    def notes(self) -> list[str]:
        """What a person should know of the model that is sampled."""
        return list(getattr(self.loaded, "notes", ()))

    def describe(self) -> dict[str, Any]:
        """What the manifest keeps. Fields that cannot change a sample (rows, tree) are left out."""
        return {"engine": self.name, **self.loaded.describe()}

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, in batches, as they finish."""
        self.work = Work()
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
            session = Session(
                self.loaded, queue, decoding, reader, rows=rows, longest=longest, tree=self.tree, work=self.work
            )
            try:
                while session.busy:
                    finished += session.step()
                    if finished and not checked:
                        self._check(ids, finished, decoding)
                        checked = True
                    if len(finished) >= YIELD:
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

    def _jobs(self, requests: Sequence[Request], prompts: Sequence[list[int]], seed: int) -> list[Job]:
        """Jobs, longest prompt first, so that prompts of similar length share the batch. prompts: their token ids."""
        jobs = [
            Job(
                request.prompt.id, ids, stream_key(seed, request.prompt.id), np.asarray(request.samples, dtype=np.int64)
            )
            for request, ids in zip(requests, prompts, strict=True)
        ]
        jobs.sort(key=lambda job: (-len(job.ids), job.prompt_id))
        return jobs

    def _rows(self, longest: int, decoding: Decoding) -> int:
        """How many rows fit: keys and values for every slot, beside packed weights."""
        with torch.inference_mode():
            shapes = prefill(self.loaded.model, [[0]])
        base = recognised(self.loaded.model)
        slots = slots_for(longest, decoding, joining=rows_join(self.loaded.device))
        need = ModuleDecoder.bytes_per_slot(shapes) * (slots - (longest - 1 if base is not None else 0))
        if self.loaded.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.loaded.device)
            return max(1, min(_ROWS_GPU, int(free * MEMORY_GPU / need)))
        packed = packable(base) if base is not None else 0
        return max(1, min(_ROWS_CPU, int((MEMORY_CPU - packed) / need)))


def is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(error)
