"""Speed of the native engine against vLLM, in one process, on a random Llama with nothing to share.

    python performance/against_vllm.py --shape 135M --dtype bf16 --out vllm.json

Run it where vLLM is installed (its own environment: it pins many packages). Every answer has `--tokens` tokens: random
weights draw the end token once in tens of thousands. Rates are those of the second of two passes, other seeds; loading
and compiling are timed apart. On a CPU give both the same threads: OMP_NUM_THREADS=1, and for vLLM
VLLM_CPU_OMP_THREADS_BIND=nobind. Then CPU seconds are the fairer measure on a machine that is not idle: of this process
for native, of the busiest of vLLM's processes for vLLM (its scheduler and its front end are processes of their own, and
not counted).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import torch
from sampling import SHAPES, prompts, random_model

from leakatk.models.load import ModelSource, load_model
from leakatk.models.template import Template
from leakatk.sampling.base import Request, Sampler, release
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.vllm import VllmSampler


def rate(sampler: Sampler, requests: list[Request], decoding: Decoding, seed: int) -> dict[str, float]:
    children = psutil.Process().children(recursive=True) if sampler.name == "vllm" else [psutil.Process()]
    start, before = time.perf_counter(), [_cpu(process) for process in children]
    tokens = sum(len(one.token_ids) for batch in sampler.sample(requests, decoding, seed=seed) for one in batch)
    seconds = time.perf_counter() - start
    busiest = max((_cpu(p) - b for p, b in zip(children, before, strict=True)), default=float("nan"))
    return {
        "tokens": tokens, "seconds": seconds, "cpu_seconds": busiest,
        "tokens_per_second": tokens / seconds, "tokens_per_cpu_second": tokens / busiest,
    }  # fmt: skip


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="135M")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--eager", action="store_true", help="vLLM without compilation")
    parser.add_argument("--place", type=Path, help="where the random model is kept: vLLM finds what it compiled for it")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    decoding = Decoding(max_new_tokens=given.tokens)
    requests = [Request(prompt, range(given.n)) for prompt in prompts(given.prompts)]
    found: dict[str, Any] = {
        **vars(given),
        "out": None,
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        place = str(given.place or temporary)
        made = random_model(given.shape, given.dtype)
        made.model.save_pretrained(place)
        made.tokenizer.save_pretrained(place)
        del made
        source = ModelSource(place, dtype=given.dtype, template=Template(kind="plain", plain="{question}"))
        start = time.perf_counter()
        engines: dict[str, Sampler] = {"vllm": VllmSampler(source, eager=given.eager, max_length=256)}
        rate(engines["vllm"], requests[:1], Decoding(max_new_tokens=2), 0)
        found["vllm loading"] = time.perf_counter() - start
        engines["native"] = NativeSampler(load_model(place, dtype=given.dtype, template=source.template))
        for seed in (1, 2):
            for name, engine in engines.items():
                found[name] = rate(engine, requests, decoding, seed)
                shown = found[name]
                print(
                    f"{name:8} pass {seed}: {shown['tokens_per_second']:8,.0f} tokens/s, "
                    f"{shown['tokens_per_cpu_second']:8,.0f} tokens per CPU second",
                    flush=True,
                )
        release(engines["vllm"])
    for per in ("second", "cpu_second"):
        found[f"ratio_{per}"] = found["native"][f"tokens_per_{per}"] / found["vllm"][f"tokens_per_{per}"]
    print(
        f"{given.shape} {given.dtype}, {given.prompts} prompts x {given.n} x {given.tokens} tokens, "
        f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads: native {found['ratio_second']:.2f}x vLLM, {found['ratio_cpu_second']:.2f}x in CPU time "
        f"(loading vLLM: {found['vllm loading']:.0f} s)"
    )
    if given.out:
        given.out.write_text(json.dumps(found, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
