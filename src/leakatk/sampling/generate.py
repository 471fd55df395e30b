"""Generate engine: `model.generate`, for any causal model it can run, however its cache works.

The forward passes, the cache and the loop are transformers'. The distribution and the draws are ours: one logits
processor turns each row's logits into the effective decoding distribution (warp.py), draws the token from the sample's
own stream (streams.py) and leaves `generate` nothing to choose. So a sample depends on the model, the decoding, the
seed, its prompt id and its number alone, up to floating-point ties, and equals the native engine's. Nothing of the
model's generation_config applies but its end tokens.

Rows of a batch have prompts of equal length: nothing is padded, so recurrent models are exact too. A batch runs in
lock-step to its longest answer; that is what the native engine saves. Some architectures generate wrongly in batches
(RWKV does in transformers 5.23), so a few rows of the first batch are compared with plain forward passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, StoppingCriteria

from leakatk.arrays import Floats, Ints
from leakatk.errors import InputError, ModelError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import is_out_of_memory
from leakatk.sampling.random_streams import stream_key, uniforms
from leakatk.sampling.teacher_forcing import wrongness
from leakatk.sampling.tokens import Reader, Row, holds_stop, prompt_tokens, rows_of
from leakatk.sampling.warp import draw, effective

_BLOCK = 16  # steps of uniforms computed at a time


class GenerateSampler:
    """Samples through transformers' `generate`. max_rows: samples in a batch (halved when memory does not suffice)."""

    name = "generate"

    def __init__(self, loaded: LoadedModel, *, max_rows: int = 64) -> None:
        if max_rows < 1:
            raise InputError(f"max_rows must be at least 1, got {max_rows}.")
        self.loaded, self.max_rows = loaded, max_rows

    @property
    def notes(self) -> list[str]:
        """What a person should know of the model that is sampled."""
        return list(self.loaded.notes)

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name, **self.loaded.describe()}

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, a batch at a time."""
        wanted = [request for request in requests if len(request.samples)]
        prompts = prompt_tokens(self.loaded, wanted, decoding)
        rows = rows_of(wanted, prompts, decoding)
        reader = Reader(self.loaded.tokenizer, wanted, prompts, decoding.stop)
        checked = False
        # Longest first: what does not fit in memory shows at once.
        rows.sort(key=lambda row: -len(row.ids))
        for _, same in groupby(rows, key=lambda row: len(row.ids)):
            waiting = list(same)
            while waiting:
                batch = waiting[: self.max_rows]
                try:
                    finished = self._generate(batch, decoding, seed, reader)
                    if not checked:
                        self._check(batch, finished, decoding)
                        checked = True
                except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    if self.max_rows == 1:
                        raise ModelError(
                            "Not enough memory for a single row; use a shorter prompt or a smaller model."
                        ) from error
                    self.max_rows = max(1, len(batch) // 2)
                    torch.cuda.empty_cache()
                else:
                    waiting = waiting[len(batch) :]
                    yield finished

    def _check(self, batch: Sequence[Row], finished: Sequence[Generation], decoding: Decoding) -> None:
        """ModelError when the samples are not the model's."""
        off = wrongness(self.loaded, {row.prompt_id: row.ids for row in batch}, finished, decoding)
        if off:
            raise ModelError(
                f"transformers' generate does not follow {type(self.loaded.model).__name__} in batches of {len(batch)}: its "
                f"log-probabilities differ from a forward pass by {off:.2g} nats a token. "
                + ("This model cannot be sampled." if len(batch) == 1 else "Use --engine generate:max_rows=1.")
            )

    @torch.inference_mode()
    def _generate(self, batch: Sequence[Row], decoding: Decoding, seed: int, reader: Reader) -> list[Generation]:
        model = self.loaded.model
        prompts = torch.tensor([row.ids for row in batch], device=self.loaded.device)
        width = prompts.shape[1]
        choose = _Choose(batch, decoding, seed)
        end = _End(self.loaded, width, decoding.stop)
        config = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=decoding.max_new_tokens, use_cache=True)
        with _no_generation_defaults(model):
            output = model.generate(
                input_ids=prompts,
                attention_mask=torch.ones_like(prompts),
                generation_config=config,
                logits_processor=[choose],
                stopping_criteria=[end],
            )
        tokens = output[:, width:].cpu().numpy()
        lengths = np.where(end.length > 0, end.length, tokens.shape[1])
        logprobs = np.cumsum(np.stack(choose.logprobs, axis=1), axis=1)
        answers = [tuple(ids[:length].tolist()) for ids, length in zip(tokens, lengths, strict=True)]
        said = [ids[:-1] if ids[-1] in end.ids else ids for ids in answers]
        read = reader.read([row.prompt_id for row in batch], said)
        return [
            Generation(
                prompt_id=row.prompt_id,
                sample=sample,
                text=read[i][1],
                token_ids=answers[i],
                logprob=float(logprobs[i, lengths[i] - 1]),
                finish_reason="stop" if end.length[i] else "length",
                reasoning=read[i][0],
            )
            for i, row in enumerate(batch)
            for sample in row.samples
        ]


class _Choose(LogitsProcessor):  # type: ignore[misc]
    """Draws every row's token from its own uniform and leaves that one token: its logit 0, all others -inf."""

    def __init__(self, batch: Sequence[Row], decoding: Decoding, seed: int) -> None:
        self.decoding = decoding
        self.keys = np.stack([stream_key(seed, row.prompt_id) for row in batch])
        self.samples = np.array([row.samples[0] for row in batch], dtype=np.int64)
        self.logprobs: list[Floats] = []  # (rows,) a step
        self.block = np.zeros((len(batch), _BLOCK))

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = len(self.logprobs)
        if step % _BLOCK == 0:
            self.block = uniforms(self.keys, self.samples, np.full(len(self.samples), step), _BLOCK)
        rows = torch.arange(len(scores), device=scores.device)
        uniform = torch.as_tensor(self.block[:, step % _BLOCK], device=scores.device)
        token, logprob = draw(effective(scores, self.decoding, input_ids), rows, uniform)
        self.logprobs.append(logprob.cpu().numpy())
        return torch.full_like(scores, -torch.inf).scatter_(1, token[:, None], 0.0)


class _End(StoppingCriteria):  # type: ignore[misc]
    """Which rows have ended, by an end token or a stop string, and after how many tokens (0: not yet)."""

    def __init__(self, loaded: LoadedModel, width: int, stop: Sequence[str]) -> None:
        self.tokenizer, self.ids, self.width, self.stop = loaded.tokenizer, loaded.end_ids, width, stop
        self.length: Ints = np.zeros(0, np.int64)

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        if len(self.length) == 0:
            self.length = np.zeros(len(input_ids), np.int64)
        answers = input_ids[:, self.width :].cpu().numpy()
        going = np.flatnonzero(self.length == 0)
        ended = np.isin(answers[going, -1], sorted(self.ids))
        if self.stop:
            ended |= holds_stop(self.tokenizer, answers[going].tolist(), self.stop)
        self.length[going[ended]] = answers.shape[1]
        return torch.as_tensor(self.length > 0, device=input_ids.device)


@contextmanager
def _no_generation_defaults(model: PreTrainedModel) -> Iterator[None]:
    """`generate` fills what its config leaves open from the model's own: an empty one leaves nothing to fill in."""
    # An adapter's wrapper hands its own config on to the model inside.
    holders = [model, model.get_base_model()] if hasattr(model, "get_base_model") else [model]
    before = [holder.generation_config for holder in holders]
    for holder in holders:
        holder.generation_config = GenerationConfig()
    try:
        yield
    finally:
        for holder, config in zip(holders, before, strict=True):
            holder.generation_config = config
