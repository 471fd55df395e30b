"""Speed of the native engine against the published pipeline's way of sampling, in one process.

    python performance/sampling.py shapes --shape 5M --dtype fp32      random weights: nothing to share
    python performance/sampling.py tree MODEL_DIR FORGET.jsonl         rows saved and time saved by the prefix tree
    python performance/sampling.py gpu                                 Llama-3.2-1B shape on a GPU, share of its roofline
    python performance/sampling.py gpu --device cpu --shape 1M --limit 16 --prompts 1     the same code, tried on a CPU
    python performance/sampling.py real MODEL --out real.json          a real model: pretrained, memorised, greedy answers

Reference: the same prompt in batches of 32 rows through transformers' `generate` (prompt prefilled in every row,
lock-step to the longest row). Rates count useful tokens: those of the answers, end token included. With random weights
the answers' lengths are steered by one rule in both engines: the end token's logit follows the hazard of a normal
(48, 14). Prints a table and writes json (--out).
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import real_model
import torch
from scipy.stats import norm
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
)

from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.models.template import Template
from leakatk.prompts import Prompt, load_prompts
from leakatk.sampling import native
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.onednn import linear
from leakatk.sampling.shared_prefix import LeanDecoder

SHAPES: dict[str, dict[str, int]] = {
    "1M": {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 384, "vocab_size": 2048},
    "5M": {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 688, "vocab_size": 4096},
    "50M": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "intermediate_size": 1408, "vocab_size": 32000},
    "135M": {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "intermediate_size": 1536, "vocab_size": 49152},
    "1B": {"hidden_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "intermediate_size": 8192, "vocab_size": 128256},
}  # fmt: skip
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
PROMPT_TOKENS, MEAN, SD, LIMIT, ROWS = 40, 48.0, 14.0, 96, 32
END = 2


def random_model(shape: str, dtype: str, device: str = "cpu") -> LoadedModel:
    sizes = SHAPES[shape]
    config = LlamaConfig(
        **sizes,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=0,
        max_position_embeddings=2048,
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype]).to(device).eval()
    words = ["<pad>", "<s>", "</s>", "<unk>", *(f"w{i}" for i in range(4, sizes["vocab_size"]))]
    core = Tokenizer(WordLevel(dict(zip(words, range(sizes["vocab_size"]), strict=True)), unk_token="<unk>"))
    core.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    return LoadedModel(model, tokenizer, Template(kind="plain", plain="{question}"), shape, "random")


def prompts(count: int) -> list[Prompt]:
    texts = [" ".join(f"w{10 + (31 * i + 7 * j) % 1000}" for j in range(PROMPT_TOKENS)) for i in range(count)]
    return [Prompt(id=f"p{i}", question=text, answer="w5") for i, text in enumerate(texts)]


def end_logit(step: int, vocabulary: int) -> float:
    """The end token's logit that makes an answer end after step + 1 tokens with the hazard of a normal (48, 14).
    The random model's logits are nearly flat (spread below .5), so the others' log-sum is about log V."""
    hazard = (norm.cdf(step + 1.5, MEAN, SD) - norm.cdf(step + 0.5, MEAN, SD)) / norm.sf(step + 0.5, MEAN, SD)
    hazard = min(max(float(hazard), 1e-9), 1 - 1e-9)
    return math.log(vocabulary) + 0.1 + math.log(hazard) - math.log1p(-hazard)


@cache
def end_logits(vocabulary: int) -> torch.Tensor:
    return torch.tensor([end_logit(step, vocabulary) for step in range(LIMIT + 1)])


class Ending(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        scores[:, END] = end_logits(scores.shape[1])[input_ids.shape[1] - PROMPT_TOKENS]
        return scores


@contextmanager
def ending_natively() -> Iterator[None]:
    features, logits = LeanDecoder.features, LeanDecoder.logits
    waiting: list[int] = []  # answer tokens so far of the rows whose logits are still to be made

    def remember(decoder: LeanDecoder, tokens: torch.Tensor, start: Any, drawn: Any, prompt: Any) -> torch.Tensor:
        waiting[:] = drawn.tolist()
        return features(decoder, tokens, start, drawn, prompt)

    def steered(decoder: LeanDecoder, some: torch.Tensor) -> torch.Tensor:
        out = logits(decoder, some)
        out[:, END] = end_logits(out.shape[1])[waiting[: len(some)]].to(out.dtype)
        del waiting[: len(some)]
        return out

    LeanDecoder.features, LeanDecoder.logits = remember, steered  # type: ignore[method-assign]
    check, native.wrongness = native.wrongness, lambda *_: 0.0  # the steered end token is not the model's
    try:
        yield
    finally:
        LeanDecoder.features, LeanDecoder.logits = features, logits  # type: ignore[method-assign]
        native.wrongness = check


def timed(action: Callable[[], int]) -> tuple[int, float]:
    """Seconds of this process: CPU time on a CPU (with one thread, what a busy neighbour cannot lengthen), else wall time."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    clock = time.perf_counter if torch.cuda.is_available() or torch.get_num_threads() > 1 else time.process_time
    start = clock()
    tokens = action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return tokens, clock() - start


@torch.inference_mode()
def reference(loaded: LoadedModel, count: int, *, calls: int, limit: int = LIMIT, steer: bool = True) -> int:
    """`calls` lock-step batches of `count` rows. Returns useful tokens."""
    useful = 0
    for prompt in prompts(calls):
        ids = torch.tensor([loaded.tokenizer(prompt.question)["input_ids"]] * count, device=loaded.device)
        output = loaded.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            max_new_tokens=limit,
            logits_processor=LogitsProcessorList([Ending()] if steer else []),
        )
        answers = output[:, ids.shape[1] :]
        ended = (answers == END).int()
        useful += int(torch.where(ended.any(1), ended.argmax(1) + 1, answers.shape[1]).sum())
    return useful


def ours(loaded: LoadedModel, count: int, n: int, *, limit: int = LIMIT, **options: Any) -> int:
    sampler = NativeSampler(loaded, **options)
    requests = [Request(prompt, range(n)) for prompt in prompts(count)]
    return sum(len(g.token_ids) for b in sampler.sample(requests, Decoding(max_new_tokens=limit), seed=0) for g in b)


def matmul_rate(dtype: torch.dtype, device: str, size: int = 2048) -> float:
    """FLOP/s of a square product, the best of several, by torch's own product and by the one that the engine uses."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    layer = torch.nn.Linear(size, size, bias=False, device=device, dtype=dtype)
    best = math.inf
    with torch.inference_mode():
        for _ in range(6):
            for product in (lambda: a @ b, lambda: linear(layer, a)):
                _, seconds = timed(lambda: int(product().shape[0]))  # noqa: B023
                best = min(best, seconds)
    return 2 * size**3 / best


def tree_cost(loaded: LoadedModel) -> float:
    """CPU time with the tree over CPU time without: on and off in alternating order, so that a busy neighbour or a first
    run's page faults do not fall on one of them."""
    spent = {True: 0.0, False: 0.0}
    for shared in (True, False, False, True, True, False):
        start = time.process_time()
        ours(loaded, 5, 200, tree=shared)
        spent[shared] += time.process_time() - start
    return spent[True] / spent[False]


def shapes(args: argparse.Namespace) -> list[dict[str, Any]]:
    rows = []
    for shape in args.shape.split(","):
        for dtype in args.dtype.split(","):
            loaded = random_model(shape, dtype)
            parameters = sum(p.numel() for p in loaded.model.parameters())
            small = parameters < 1e7
            count = args.prompts or (8 if small else 2)
            reference(loaded, 4, calls=1, limit=4)
            calls = 3 if small else 1
            before = timed(lambda: reference(loaded, ROWS, calls=calls))  # noqa: B023
            with ending_natively():
                ours(
                    loaded, count, 200, limit=4
                )  # a process's first use of so much memory is slow on a virtual machine
                found, seconds = timed(lambda: ours(loaded, count, 200))  # noqa: B023
                cost = tree_cost(loaded) if args.cost else math.nan
            # Before and after: a machine shared with others changes its speed by the minute.
            after = timed(lambda: reference(loaded, ROWS, calls=calls))  # noqa: B023
            base, base_time = before[0] + after[0], before[1] + after[1]
            ceiling = matmul_rate(DTYPES[dtype], "cpu")
            rows.append(
                {
                    "shape": shape,
                    "dtype": dtype,
                    "parameters": parameters,
                    "reference tok/s": base / base_time,
                    "native tok/s": found / seconds,
                    "ratio": found / seconds / (base / base_time),
                    "tree on / off CPU time": cost,
                    "matmul GFLOP/s": ceiling / 1e9,
                    "share of it": 2 * parameters * found / seconds / ceiling,
                    "mean length": found / (count * 200),
                    "reference mean length": base / (2 * ROWS * calls),
                }
            )
            show(rows[-1:])
    return rows


def tree(args: argparse.Namespace) -> list[dict[str, Any]]:
    loaded = load_model(args.model, device=args.device)
    forget = load_prompts(args.prompts_file)
    rows = []
    for decoding in (
        Decoding(temperature=1.0, max_new_tokens=args.tokens),
        Decoding(temperature=0.8, max_new_tokens=args.tokens),
        Decoding(temperature=0.5, max_new_tokens=args.tokens),
        Decoding(temperature=0.2, max_new_tokens=args.tokens),
        Decoding(top_p=0.8, max_new_tokens=args.tokens),
    ):
        requests = [Request(prompt, range(200)) for prompt in forget]
        seconds, work = {}, {}
        for shared in (True, False):
            sampler = NativeSampler(loaded, tree=shared)
            texts, seconds[shared] = timed(lambda: sum(len(b) for b in sampler.sample(requests, decoding, seed=0)))  # noqa: B023
            work[shared] = sampler.rows_computed
        rows.append(
            {
                "model": Path(args.model).name,
                "decoding": decoding.label,
                "samples": texts,
                "tree s": seconds[True],
                "no tree s": seconds[False],
                "rows saved": work[False] / work[True],
                "speed-up": seconds[False] / seconds[True],
            }
        )
        show(rows[-1:])
    return rows


def bandwidth(device: str, megabytes: int) -> float:
    """Bytes/s read and written by a copy, the best of several."""
    source = torch.zeros(megabytes << 18, device=device)
    target = torch.empty_like(source)
    best = min(timed(lambda: target.copy_(source).dim())[1] for _ in range(6))
    return 2 * source.numel() * source.element_size() / best


def gpu(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The decode loop alone, no early end, as a share of the roofline: the slower of the arithmetic (two operations a
    weight and token, at the measured rate of a product) and the memory (weights once a step; keys, values; measured)."""
    device, on_gpu = args.device, args.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise SystemExit("no GPU here; --device cpu --shape 1M --limit 16 runs the same on a CPU")
    shape, count, limit = args.shape if args.shape != "5M" else "1B", args.prompts or 24, args.limit
    loaded = random_model(shape, "bf16", device)
    loaded.model.generation_config.eos_token_id = None
    loaded.model.config.eos_token_id = None
    reference(loaded, 4, calls=1, limit=4, steer=False)
    base, base_time = timed(lambda: reference(loaded, ROWS, calls=1, limit=limit, steer=False))
    ours(loaded, 1, 8, limit=4)
    found, seconds = timed(lambda: ours(loaded, count, 200, limit=limit))
    rows = min(200 * count, NativeSampler(loaded)._rows(PROMPT_TOKENS, Decoding(max_new_tokens=limit)))
    parameters = sum(p.numel() for p in loaded.model.parameters())
    sizes = SHAPES[shape]
    head = sizes.get("head_dim", sizes["hidden_size"] // sizes["num_attention_heads"])
    kv_token = 2 * sizes["num_hidden_layers"] * sizes["num_key_value_heads"] * head * 2
    flops = matmul_rate(torch.bfloat16, device, 8192 if on_gpu else 1024)
    bytes_per_second = bandwidth(device, 1024 if on_gpu else 64)
    arithmetic = 2 * parameters / flops
    memory = (2 * parameters / rows + kv_token * (PROMPT_TOKENS + limit / 2)) / bytes_per_second
    row = {
        "shape": shape,
        "dtype": "bf16",
        "device": torch.cuda.get_device_name() if on_gpu else device,
        "prompts": count,
        "new tokens": limit,
        "rows in flight": rows,
        "reference tok/s": base / base_time,
        "native tok/s": found / seconds,
        "ratio": found / seconds / (base / base_time),
        "matmul TFLOP/s": flops / 1e12,
        "bandwidth GB/s": bytes_per_second / 1e9,
        "bound by": "arithmetic" if arithmetic > memory else "memory",
        "share of the roofline": max(arithmetic, memory) * found / seconds,
    }
    show([row])
    return [row]


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print("  ".join(f"{k} {v:,.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["shapes", "tree", "gpu", "real"])
    parser.add_argument("model", nargs="?")
    parser.add_argument("prompts_file", nargs="?")
    parser.add_argument("--shape", default="5M", help=f"any of {', '.join(SHAPES)}, comma separated")
    parser.add_argument("--dtype", help="fp32,bf16; default fp32, for the real part bf16")
    parser.add_argument(
        "--prompts",
        type=int,
        help="of 200 samples: 8 of the small shapes, 2 of the larger ones, 24 on a GPU; real part: 20, greedy 40",
    )
    parser.add_argument("--limit", type=int, help="new tokens: 200 of the gpu part, 96 of the real part")
    parser.add_argument("--n", type=int, default=64, help="samples a prompt of the real part")
    parser.add_argument("--runs", type=int, default=3, help="of both engines in turn, real part")
    parser.add_argument("--calls", type=int, default=2, help="batches of 32 rows of the reference a run, real part")
    parser.add_argument("--cases", default=",".join(real_model.CASES), help="of the real part")
    parser.add_argument("--memorised", type=Path, help="folder of the memorised copy, made where it is not there")
    parser.add_argument("--cost", action="store_true", help="also the tree's cost where nothing is shared")
    parser.add_argument("--tokens", type=int, default=32, help="max_new_tokens of the tree part")
    parser.add_argument("--device", help="default cpu, for the gpu part cuda")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    args.device = args.device or ("cuda" if args.part == "gpu" else "cpu")
    args.dtype = args.dtype or ("bf16" if args.part == "real" else "fp32")
    args.limit = args.limit or (96 if args.part == "real" else 200)
    if args.part == "real" and not args.model:
        parser.error("real needs a MODEL, a folder or a name")
    rows = {"shapes": shapes, "tree": tree, "gpu": gpu, "real": real_model.measure}[args.part](args)
    if args.out:
        header = {
            "machine": platform.processor() or platform.machine(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        args.out.write_text(json.dumps({**header, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
