"""Continuous engine, transformers with continuous batching: a request starts as soon as another ends, keys and values in pages.

The forward passes, the paged cache and the scheduler are transformers' (`ContinuousBatchingManager`); the distribution
and the draws are ours, as in generate.py: a sample equals the native engine's, up to floating-point ties. It is meant for
a GPU with flash attention. Elsewhere every row's attention runs over the keys of all rows, masked, so that more rows in
flight cost more a token: there the native engine, and for other architectures `generate`, are faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from transformers import ContinuousBatchingConfig, GenerationConfig, LogitsProcessorList
from transformers.generation.continuous_batching.cb_logits_processors import (
    ContinuousBatchingLogitsProcessor,
    ContinuousBatchingLogitsProcessorList,
)

from leakatk.arrays import Ints
from leakatk.errors import InputError, ModelError
from leakatk.models.loaded import LoadedModel
from leakatk.models.placement import refuse_spread
from leakatk.prompts import Generation
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.sampling.tokens import Reader, Row, holds_stop, prompt_tokens, rows_of
from leakatk.sampling.warp import draw, effective, histories

_PAGE = 64  # tokens
_PREFILL_CPU = 512  # tokens in a forward pass: a mask of these by all cached tokens is made without flash attention
MEMORY_CPU = 2.0e9  # bytes of keys and values; on a GPU transformers takes what is free
_YIELD = 256


class ContinuousSampler:
    """Samples through transformers' continuous batching. max_rows: requests in flight."""

    name = "continuous"

    def __init__(self, loaded: LoadedModel, *, max_rows: int = 64) -> None:
        if max_rows < 1:
            raise InputError(f"max_rows must be at least 1, got {max_rows}.")
        refuse_spread(loaded.model, "Engine continuous")
        self.loaded, self.max_rows = loaded, max_rows

    @property
    def notes(self) -> list[str]:
        """What a person should know of the model that is sampled."""
        return list(self.loaded.notes)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, **self.loaded.describe()}

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, in batches, as they finish."""
        wanted = [request for request in requests if len(request.samples)]
        prompts = prompt_tokens(self.loaded, wanted, decoding)
        rows = rows_of(wanted, prompts, decoding)
        if not rows:
            return
        reader = Reader(self.loaded.tokenizer, wanted, prompts, decoding.stop)
        ends = sorted(self.loaded.end_ids)
        if decoding.stop and not ends:
            raise ModelError(
                "Continuous batching ends a row by an end token and the model has none; use --engine generate."
            )
        choose = Choose(rows, decoding, seed, self.loaded)
        manager = self._manager(choose, decoding, ends)
        manager.start()
        try:
            for number, row in enumerate(rows):
                manager.add_request(row.ids, request_id=str(number), max_new_tokens=decoding.max_new_tokens)
            finished: list[Generation] = []
            for _ in rows:
                output = manager.get_result()
                if output is None or output.error is not None:
                    reason = str(output.error if output else manager.background_thread_status.fatal_error)
                    raise ModelError(
                        f"transformers' continuous batching failed ({reason:.200}); use --engine generate, or fewer rows with "
                        "--engine continuous:max_rows=N."
                    )
                finished += self._generations(rows, choose, output, reader)
                if len(finished) >= _YIELD:
                    yield finished
                    finished = []
            if finished:
                yield finished
        finally:
            manager.stop(hard_stop=True)

    def _manager(self, choose: Choose, decoding: Decoding, ends: list[int]) -> Any:
        model = self.loaded.model
        config = GenerationConfig(
            do_sample=False, max_new_tokens=decoding.max_new_tokens, eos_token_id=ends or -1, num_return_sequences=1
        )
        on_gpu = self.loaded.device.type == "cuda"
        longest = -(-(max(len(row.ids) for row in choose.rows) + decoding.max_new_tokens) // _PAGE)  # pages
        try:
            pages = min(self.max_rows * (longest + 1), int(MEMORY_CPU / (_PAGE * _bytes_per_token(model))))
            batching = ContinuousBatchingConfig(
                page_size=_PAGE,
                num_blocks=None if on_gpu else max(pages, longest + 1),
                max_batch_tokens=None if on_gpu else max(_PREFILL_CPU, self.max_rows),
                max_requests_per_batch=self.max_rows,
                # In step with the host, nothing captured: the processor must see each token before it draws the next.
                use_async_batching=False,
                use_cuda_graph=False,
                auto_switch_to_flash=on_gpu,
            )
            manager = model.init_continuous_batching(config, batching)
        except (ValueError, AttributeError, NotImplementedError) as error:
            raise ModelError(
                f"transformers has no continuous batching for {type(model).__name__} ({error}); use --engine generate."
            ) from error
        processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([choose]))
        processors.tensors_required = 1
        manager.logit_processor = processors
        return manager

    def _generations(self, rows: Sequence[Row], choose: Choose, output: Any, reader: Reader) -> Iterator[Generation]:
        number = int(output.request_id)
        row, ids, tokenizer = rows[number], tuple(output.generated_tokens), self.loaded.tokenizer
        if number in choose.stopped:
            ids = ids[: choose.stopped[number]]  # without the end token that was put in
        ended = ids[-1] in choose.ends
        said = ids[:-1] if ended else ids
        done = ended or bool(reader.stop and holds_stop(tokenizer, [ids], reader.stop)[0])
        thought, text = reader.read([row.prompt_id], [said])[0]
        logprob = float(sum(choose.logprobs[number][: len(ids)]))
        for sample in row.samples:
            yield Generation(row.prompt_id, sample, text, ids, logprob, "stop" if done else "length", thought)


class Choose(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Draws every request's token from its own uniform and leaves that one token: its logit 0, all others -inf.

    A request's id is the number of its row. logprobs: of the tokens drawn, for each row.  stopped: row -> the length of an
    answer that contains a stop string; the next token is an end token, put in.
    """

    supported_kwargs: ClassVar[dict[str, type]] = {}
    ignored_kwargs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rows: Sequence[Row], decoding: Decoding, seed: int, loaded: LoadedModel) -> None:
        self.rows, self.decoding, self.tokenizer = rows, decoding, loaded.tokenizer
        self.ends = loaded.end_ids
        self.keys = np.stack([stream_key(seed, row.prompt_id) for row in rows])
        self.samples = np.array([row.samples[0] for row in rows], dtype=np.int64)
        self.logprobs: list[list[float]] = [[] for _ in rows]
        self.stopped: dict[int, int] = {}
        self.now: Ints = np.zeros(0, np.int64)  # the rows of this step
        self.said: list[list[int]] = []  # their prompts and answers so far

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        int32_tensor.zero_()

    def prepare_tensor_args(self, requests_with_new_token: list[Any]) -> torch.Tensor:
        """Called before each forward pass with the requests that get a token, in the order of the rows of logits."""
        states = [request.state for request in requests_with_new_token]
        self.now = np.array([int(state.request_id) for state in states], dtype=np.int64)
        # A request that had to give its pages back starts again with its answer as part of its prompt.
        self.said = [[*state.initial_tokens, *state.generated_tokens] for state in states]
        return torch.zeros(len(states), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        count, device = len(self.now), scores.device
        answers = [said[len(self.rows[row].ids) :] for row, said in zip(self.now, self.said, strict=True)]
        steps = np.array([len(answer) for answer in answers], dtype=np.int64)
        pairs = uniforms(self.keys[self.now], self.samples[self.now], steps // 2 * 2, 2)
        uniform = torch.as_tensor(pairs[np.arange(count), steps % 2], device=device)
        history = histories(self.said).to(device) if self.decoding.repetition_penalty != 1 else None
        scaled = effective(scores[:count], self.decoding, history)
        token, logprob = draw(scaled, torch.arange(count, device=device), uniform)
        for row, value in zip(self.now, logprob.tolist(), strict=True):
            self.logprobs[row].append(value)
        if self.decoding.stop:
            begun = np.flatnonzero(steps > 0)
            hit = holds_stop(self.tokenizer, [answers[i] for i in begun], self.decoding.stop)
            for i in begun[hit]:
                self.stopped[int(self.now[i])] = int(steps[i])
                token[i] = min(self.ends)
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)


def _bytes_per_token(model: Any) -> int:
    """Keys and values of one token."""
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return int(2 * config.num_hidden_layers * heads * size * next(model.parameters()).element_size())
