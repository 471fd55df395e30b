"""What happens at scale: our own parts measured on made-up answers, and the arithmetic of a whole study.

    python performance/scale.py parts --samples 100000       store, scoring and estimates on made-up answers
    python performance/scale.py ray                          samples that the process which owns the workers can take in
    python performance/scale.py study                        TOFU forget10 x 10 decodings x 20 models at 1B, 8B and 70B

`parts` measures one run of `samples` / 200 prompts x 200: rates, bytes on disk, peak memory. `study` computes tokens,
GPU-hours and bytes from stated rates; GPU rates are a roofline (the slower of arithmetic and memory), not measured.
Prints tables and writes json (--out).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from leakatk.auditing.score import score
from leakatk.estimate.leak import leak_at_k
from leakatk.prompts import Generation, Prompt
from leakatk.runs.manifest import Manifest
from leakatk.runs.store import Run
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding

N = 200

# --- our own parts, measured ------------------------------------------------------------------------------------------


def made_up(count: int, tokens: int, distinct: float) -> tuple[list[Prompt], Callable[[int], list[Generation]]]:
    """Prompts, and the answers of one after another: a share of them are distinct, one in ten samples says the fact."""
    rng = random.Random(0)
    words = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "ne") for b in ("tar", "vel", "son", "dim") for c in "aeiou"]
    prompts = [Prompt(f"p{i}", f"Question {i}?", f"The answer is fact{i}.", facts=(f"fact{i}",)) for i in range(count)]

    def answers(row: int) -> list[Generation]:
        texts = [" ".join(rng.choices(words, k=max(1, tokens * 3 // 4))) for _ in range(max(1, int(N * distinct)))]
        ids = [tuple(rng.choices(range(128_000), k=tokens)) for _ in texts]
        batch = []
        for j in range(N):
            which = j if j < len(texts) else rng.randrange(len(texts))
            text = f"{texts[which]} fact{row}" if j % 10 == 0 else texts[which]
            batch.append(Generation(f"p{row}", j, text, ids[which], -float(which), "stop"))
        return batch

    return prompts, answers


def peak() -> float:
    """Most memory this process ever held, bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


def size_of(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def parts(args: argparse.Namespace) -> list[dict[str, Any]]:
    total = args.samples
    prompts, answers = made_up(total // N, args.tokens, args.distinct)
    manifest = Manifest.create(
        prompts=prompts, model={"fingerprint": "made up"}, decoding={}, seed=0, n=N, engine="made up"
    )
    place = Path(tempfile.mkdtemp(prefix="leakatk-scale-", dir=args.dir))
    path, rows = place / "run", []

    def timed(part: str, action: Callable[[], Any], **more: Any) -> Any:
        before, start = peak(), time.process_time()
        wall = time.perf_counter()
        found = action()
        rows.append(
            {
                "part": part,
                "samples/s (CPU)": total / (time.process_time() - start),
                "wall s": time.perf_counter() - wall,
                "peak memory, MB": peak() / 1e6,
                "of which new, MB": (peak() - before) / 1e6,
                **more,
            }
        )
        show(rows[-1:])
        return found

    try:
        with Run.create_or_resume(path, manifest, prompts) as run:
            spent, held = 0.0, 0
            for row in range(len(prompts)):
                batch = answers(row)
                start = time.process_time()
                held += run.append(batch)
                spent += time.process_time() - start
            assert held == total
            shards = size_of(path / "generations")
            rows.append({"part": "append", "samples/s (CPU)": total / spent, "bytes a sample": shards / total})
            show(rows[-1:])
        timed("open what was left unfinished", lambda: Run.open(path))
        with Run.create_or_resume(path, manifest, prompts) as run:
            timed("compact", run.finish)
        rows[-1]["bytes a sample"] = (path / "generations.parquet").stat().st_size / total
        run = timed("open", lambda: Run.open(path))
        for scorer in ("fact", "rouge-l"):
            scores = timed(f"score {scorer}", lambda: score(run, scorer))  # noqa: B023
        timed("score again (kept)", lambda: score(run, "fact"))
        values = np.array(scores > 0.5, dtype=float)
        for over in ("samples", "prompts"):
            timed(f"leak@k, intervals over {over}", lambda: leak_at_k(values, [1, 8, 64, 128], over=over))  # noqa: B023
        rows.append({"part": "directory", "bytes a sample": size_of(path) / total})
        show(rows[-1:])
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return rows


class MadeUp:
    """A Ray worker that hands over made-up answers as fast as it can."""

    def __init__(self, source: object, inner: str) -> None:
        pass

    def load(self) -> tuple[str, dict[str, Any]]:
        return "here", {"fingerprint": "made up"}

    def sample(self, requests: list[Request], decoding: Decoding, seed: int) -> Iterator[list[Generation]]:
        _, answers = made_up(1, ANSWER_TOKENS, 1.0)
        kept = answers(0)
        for request in requests:
            yield [replace(kept[j % N], prompt_id=request.prompt.id, sample=j) for j in request.samples]


def ray_intake(args: argparse.Namespace) -> list[dict[str, Any]]:
    """CPU seconds of the one process that receives the samples of all workers."""
    from leakatk.models.load import ModelSource
    from leakatk.sampling import cluster

    cluster._Replica = MadeUp  # type: ignore[assignment, misc]
    sampler = cluster.RaySampler(ModelSource("made up", device="cpu"), replicas=2, cpus=0.1)
    sampler.describe()
    requests = [Request(Prompt(f"p{i}", "q", "a"), range(N)) for i in range(args.samples // N)]
    start, wall = time.process_time(), time.perf_counter()
    count = sum(len(batch) for batch in sampler.sample(requests, Decoding(), seed=0))
    row = {
        "part": "receive from Ray",
        "samples/s (CPU)": count / (time.process_time() - start),
        "wall s": time.perf_counter() - wall,
    }
    sampler.close()
    show([row])
    return [row]


# --- a whole study, computed ------------------------------------------------------------------------------------------

PROMPTS, DECODINGS, MODELS = 400, 10, 20
PROMPT_TOKENS = 60  # a TOFU question of 94 characters in a chat template
ANSWER_TOKENS = 45  # the published generations of forget10 are 176 characters long on average; 4 characters a token
BYTES_SAMPLE = {"shards": 615, "parquet": 150}  # replaced by what `parts` measured, when --parts names its json
GPU = {"name": "H100 80 GB (SXM)", "flops": 989e12, "bandwidth": 3.35e12, "memory": 80e9}  # its data sheet, bf16 dense
SHARES = (0.5, 0.2)  # of the roofline: what we aim at, and what a plain implementation may reach

VOCABULARY, PASSES = 128_256, 6  # float32 logits are read or written about six times to draw a token
# Llama 3: parameters, layers, key-value heads, head size.
LLAMA = {"1B": (1.24e9, 16, 8, 64), "8B": (8.03e9, 32, 8, 128), "70B": (70.6e9, 80, 8, 128)}


def study(args: argparse.Namespace) -> list[dict[str, Any]]:
    sizes = dict(BYTES_SAMPLE)
    if args.parts:
        measured = {row["part"]: row for row in json.loads(args.parts.read_text())["rows"]}
        sizes = {
            "shards": measured["append"]["bytes a sample"],
            "parquet": measured["compact"]["bytes a sample"],
        }
    samples = PROMPTS * MODELS * ((DECODINGS - 1) * N + 1)  # (0, 0) is greedy: one sample
    tokens = samples * ANSWER_TOKENS
    rows = []
    for name, (parameters, layers, heads, size) in LLAMA.items():
        weights = 2 * parameters
        gpus = 1 if weights < 0.8 * GPU["memory"] else 4  # 70B: 141 GB, tensor parallel over four
        kv_token = 2 * layers * heads * size * 2  # keys and values, bf16
        context = PROMPT_TOKENS + ANSWER_TOKENS / 2  # mean length while decoding
        room = 0.9 * gpus * GPU["memory"] - weights
        batch = min(4096, int(room / (kv_token * (PROMPT_TOKENS + ANSWER_TOKENS))))
        arithmetic = 2 * parameters / (gpus * GPU["flops"])
        traffic = {"weights": weights / batch, "KV": kv_token * context, "logits": PASSES * 4.0 * VOCABULARY}
        memory = sum(traffic.values()) / (gpus * GPU["bandwidth"])
        roofline = 1 / max(arithmetic, memory)
        prefill = PROMPTS * PROMPT_TOKENS * 2 * parameters / (gpus * GPU["flops"]) * MODELS * DECODINGS
        rows.append(
            {
                "model": name,
                "GPUs a copy": gpus,
                "weights, GB": weights / 1e9,
                "KV, kB a token": kv_token / 1e3,
                "rows in flight": batch,
                "KV of them, GB": batch * kv_token * (PROMPT_TOKENS + ANSWER_TOKENS) / 1e9,
                "roofline, tokens/s a GPU": roofline / gpus,
                "bound by": "arithmetic" if arithmetic > memory else "memory",
                **{f"{what} traffic, MB a token": amount / 1e6 for what, amount in traffic.items()},
                "samples": samples,
                "tokens": tokens,
                **{f"GPU-hours at {share:.0%}": gpus * tokens / roofline / share / 3600 for share in SHARES},
                "prefill GPU-hours (no sharing of more than a prompt)": gpus * prefill / 3600,
                "shards, GB": samples * sizes["shards"] / 1e9,
                "parquet, GB": samples * sizes["parquet"] / 1e9,
                "models on disk, GB": MODELS * weights / 1e9,
            }
        )
        show(rows[-1:])
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print("  ".join(f"{k} {v:,.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["parts", "ray", "study"])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--tokens", type=int, default=ANSWER_TOKENS, help="tokens an answer")
    parser.add_argument("--distinct", type=float, default=1.0, help="share of a prompt's answers that are distinct")
    parser.add_argument("--dir", type=Path, help="where the run is written and removed again")
    parser.add_argument("--parts", type=Path, help="study: json of `parts`, for the bytes a sample")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = {"parts": parts, "ray": ray_intake, "study": study}[args.what](args)
    if args.out:
        args.out.write_text(json.dumps({"cores": os.cpu_count(), "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
