"""vLLM engine, in this process: continuous batching, prefix caching and its own kernels, for large models on GPUs.

One request a sample, with a seed of its own: a sample does not depend on the others or on when it is drawn, up to
rounding; it is another sample than native's. A prompt is computed once and found again in the prefix cache. Every field
of the decoding is set and read back; the log-probabilities are those of the decoding distribution (vLLM's "processed"
ones). vLLM loads the weights itself, from the directory or hub id; a LoRA adapter's base model is loaded with it.
"""

from __future__ import annotations

import gc
import json
import platform
from collections import deque
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from leakatk.errors import InputError, ModelError, first_line
from leakatk.models.fingerprint import identity_of
from leakatk.models.gguf import gguf_file
from leakatk.models.load import ModelSource, pick_device, pick_dtype
from leakatk.models.loaded import end_token_ids
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.random_streams import sample_seed
from leakatk.sampling.teacher_forcing import Truth, true_answers
from leakatk.sampling.tokens import Reader, Row, prompt_ids, rows_of

_IN_FLIGHT = 2048  # requests handed to vLLM at a time: it starts the next as one ends
_YIELD = 256


class VllmSampler:
    """Samples through vLLM (extra `vllm`). max_length: longest prompt and answer, in tokens; 0: what the model allows.
    memory: share of the GPU's memory it may take.  tensor_parallel: GPUs one copy of the model is spread over.
    eager: no compilation and no CUDA graphs: slower, but ready in seconds."""

    name = "vllm"
    takes_source = True

    def __init__(
        self,
        source: ModelSource,
        *,
        max_length: int = 0,
        memory: float = 0.9,
        tensor_parallel: int = 1,
        eager: bool = False,
    ) -> None:
        if max_length < 0 or tensor_parallel < 1 or not 0 < memory <= 1:
            raise InputError(
                f"Engine vllm: max_length must be at least 0, tensor_parallel at least 1 and memory in (0, 1], got "
                f"{max_length}, {tensor_parallel} and {memory}."
            )
        packages = metadata.packages_distributions().get("vllm")  # of another name for other devices
        if not packages:
            raise ModelError("Engine vllm needs vLLM: pip install 'leak-at-k[vllm]'.")
        self.version = metadata.version(packages[0])
        source = source.located()
        if (file := gguf_file(source.path)) is not None:
            raise ModelError(
                f"Engine vllm is not given {file}: it would read the blocks with kernels of its own, as another model; use "
                "--engine native or generate, or save it as safetensors with `save_model` first."
            )
        self.source, self.max_length, self.memory = source, max_length, memory
        self.tensor_parallel, self.eager = tensor_parallel, eager
        self._llm: Any = None
        self._adapter: Any = None
        self.device = pick_device(source.device)
        self.dtype = str(pick_dtype(source.dtype, self.device)).removeprefix("torch.")
        loading = {"revision": source.revision, "trust_remote_code": source.trust_remote_code}
        try:
            self.tokenizer: PreTrainedTokenizerBase = source.tokenizer()
            self.base = _base_model(source.path)
            config = AutoConfig.from_pretrained(self.base, **loading)
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"Cannot load {source.path}: {first_line(error)}. Give a directory saved with save_pretrained, "
                "or a hub id you have access to."
            ) from error
        end = source.template.end_id(self.tokenizer)
        self.end_ids = _end_ids(self.base, config, self.tokenizer) | frozenset(() if end is None else (end,))
        self.notes = list(source.template.shape(self.tokenizer).notes)
        self.identity = identity_of(str(source.path), source.revision)

    def describe(self) -> dict[str, Any]:
        return {
            "engine": self.name,
            "model": self.source.path,
            "fingerprint": self.identity.fingerprint,
            "weights_sha256": self.identity.weights_sha256,
            "template": self.source.template.describe(self.tokenizer),
            "dtype": self.dtype,
            "device": self.device.type,
            "vllm": self.version,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        }

    def sample(self, requests: Sequence[Request], decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        """Yield each requested generation once, in batches, as they finish."""
        check_order(decoding)
        wanted = [request for request in requests if len(request.samples)]
        ids = [prompt_ids(self.source.template, self.tokenizer, request.prompt) for request in wanted]
        waiting = deque(rows_of(wanted, ids, decoding))
        if not waiting:
            return
        reader = Reader(self.tokenizer, wanted, ids, decoding.stop)
        engine = self._engine()
        limit = engine.model_config.max_model_len
        longest = max(waiting, key=lambda item: len(item.ids))
        if len(longest.ids) + decoding.max_new_tokens > limit:
            raise InputError(
                f"Prompt {longest.prompt_id!r} has {len(longest.ids)} tokens; with max_new_tokens {decoding.max_new_tokens} it "
                f"exceeds vLLM's limit of {limit}; lower max_new_tokens or raise --engine vllm:max_length=N."
            )
        running: dict[str, Row] = {}
        finished: list[Generation] = []
        try:
            while waiting or running:
                while waiting and len(running) < _IN_FLIGHT:
                    item = waiting.popleft()
                    name = f"{item.samples[0]} of {item.prompt_id}"
                    params = self._params(decoding, sample_seed(seed, item.prompt_id, item.samples[0]))
                    engine.add_request(name, {"prompt_token_ids": item.ids}, params, lora_request=self._adapter)
                    running[name] = item
                for output in engine.step():
                    if output.finished:
                        finished += self._generations(
                            running.pop(output.request_id), output.outputs[0], decoding, reader
                        )
                if len(finished) >= _YIELD:
                    yield finished
                    finished = []
        finally:
            if running:
                engine.abort_request(list(running))
        if finished:
            yield finished

    def true_answers(self, prompts: Sequence[Prompt], decoding: Decoding) -> dict[str, Truth]:
        """As `exact.true_answers`: vLLM makes room, and the weights are loaded once more, by transformers."""
        self.close()
        return true_answers(self.source.load(), prompts, decoding)

    def close(self) -> None:
        """Give the memory back; the next call loads the model again."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            gc.collect()

    def _engine(self) -> Any:
        if self._llm is None:
            from vllm import LLM
            from vllm.lora.request import LoRARequest
            from vllm.platforms import current_platform

            if current_platform.device_type != self.device.type:
                raise ModelError(
                    f"This vLLM runs on {current_platform.device_type}, not on {self.device.type}; use --device "
                    f"{current_platform.device_type} or install the vLLM made for {self.device.type}."
                )
            # A prompt computed in two parts makes vLLM rewind the sample's generator, which a CPU's cannot do.
            options: dict[str, Any] = {} if self.device.type == "cuda" else {"enable_chunked_prefill": False}
            if self.base != self.source.path:
                rank = json.loads((Path(self.source.path) / "adapter_config.json").read_text())["r"]
                options |= {"enable_lora": True, "max_lora_rank": max(8, rank)}
                self._adapter = LoRARequest("adapter", 1, self.source.path)
            self._llm = LLM(
                model=self.base,
                tokenizer=self.source.tokenizer_source().path,
                revision=self.source.revision,
                trust_remote_code=self.source.trust_remote_code,
                dtype=self.dtype,
                max_model_len=self.max_length or None,
                gpu_memory_utilization=self.memory,
                tensor_parallel_size=self.tensor_parallel,
                enforce_eager=self.eager,
                enable_prefix_caching=True,
                generation_config="vllm",  # nothing of the model's own sampling defaults
                logprobs_mode="processed_logprobs",
                disable_log_stats=True,
                **options,
            )
        return self._llm.llm_engine

    def _params(self, decoding: Decoding, seed: int) -> Any:
        """vLLM's sampling parameters, read back: InputError when it would use another value than asked for."""
        from vllm import SamplingParams

        wanted: dict[str, Any] = {
            **decoding.filters(),
            "repetition_penalty": decoding.repetition_penalty,
            "max_tokens": decoding.max_new_tokens,
            "stop": list(decoding.stop),
            "stop_token_ids": sorted(self.end_ids),
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "min_tokens": 0,
            "n": 1,
            "ignore_eos": True,  # the end tokens are ours, named above
            "logprobs": 0,  # the drawn token's alone
            "detokenize": bool(decoding.stop),
            "skip_special_tokens": True,
        }
        params = SamplingParams(**wanted, seed=None if decoding.greedy else seed)
        for name, value in wanted.items():
            if getattr(params, name) != value:
                raise InputError(f"vLLM would sample with {name} = {getattr(params, name)!r} instead of {value!r}.")
        return params

    def _generations(self, item: Row, output: Any, decoding: Decoding, reader: Reader) -> list[Generation]:
        ids = tuple(int(token) for token in output.token_ids)
        said = ids[:-1] if ids and ids[-1] in self.end_ids else ids
        thought, text = reader.read([item.prompt_id], [said])[0]
        # A greedy answer is a point mass; vLLM gives the model's own probability of it.
        logprob = 0.0 if decoding.greedy else float(output.cumulative_logprob)
        finish = "stop" if output.finish_reason == "stop" else "length"
        return [Generation(item.prompt_id, sample, text, ids, logprob, finish, thought) for sample in item.samples]


def check_order(decoding: Decoding) -> None:
    """vLLM applies min-p before top-p and ours comes after: together they are another distribution (InputError).

    Each alone, and with top-k, they agree: min-p compares with the largest probability, which no cut changes.
    """
    if decoding.min_p > 0 and decoding.top_p < 1 and not decoding.greedy:
        raise InputError(
            f"Engine vllm applies min_p before top_p, which draws from another distribution; got min_p = {decoding.min_p} and "
            f"top_p = {decoding.top_p}. Use one of them, or another engine."
        )


def _base_model(path: str) -> str:
    """The model a LoRA adapter belongs to; of a whole model, itself."""
    adapter = Path(path) / "adapter_config.json"
    if not adapter.exists():
        return path
    return str(json.loads(adapter.read_text())["base_model_name_or_path"])


def _end_ids(path: str, config: Any, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """As `models.end_token_ids`, without the weights."""
    try:
        generation: Any = GenerationConfig.from_pretrained(path)
    except OSError:
        generation = None
    return end_token_ids(tokenizer, generation, config)
