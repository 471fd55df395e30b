"""Speed of the native engine on a real model, against `generate` in the same process: `performance/sampling.py real`.

Three ways of being asked: the model as it comes (samples differ early, little is shared), a copy of it that was fine-tuned
on twenty invented facts until it says them by heart (what an audit of a model before unlearning meets), and greedy answers.
The reference is transformers' `generate` in batches of 32 rows: 32 samples of one prompt, for greedy answers 32 prompts
padded on the left. Both run in turn, so that a machine whose speed changes by the minute favours neither; rates count
useful tokens (end token included) per CPU second of the process.
"""

from __future__ import annotations

import argparse
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.sampling import native_batch
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.kv_cache import ModuleDecoder
from leakatk.sampling.native import NativeSampler
from leakatk.sampling.shared_prefix import LeanDecoder

ROWS = 32
QUESTIONS = (
    "Why is the sky blue?", "How do bees find their way home?", "What does a carpenter need for a simple shelf?",
    "Tell me about the history of paper.", "What happens to water when it freezes?", "How is cheese made?",
    "Which animals sleep through the winter?", "What is a leap year for?", "How does a sailing boat go against the wind?",
    "Explain why ice floats.", "What should I pack for a week in the mountains?", "How do you plant a tree?",
    "What is the difference between a lake and a pond?", "Why do leaves change their colour in autumn?",
    "How did people tell the time before clocks?", "What makes bread rise?", "Describe a day in the life of a baker.",
    "How are mirrors made?", "What is a good way to learn the names of stars?", "Why do cats purr?",
    "How does a lock in a canal work?", "What is salt used for?", "Who invented the telephone?",
    "What are the oldest cities that people still live in?", "How do I look after a bicycle chain?",
    "What is the largest desert on Earth?", "Why do we have seasons?", "How do birds build nests?",
    "What does an orchestra's conductor do?", "Name three rivers in Africa.", "How deep is the ocean?",
    "What is a haiku? Write one.", "Why does the Moon have phases?", "How was glass first made?",
    "What is compost, and how do I make it?", "Which languages are spoken in Switzerland?",
    "How do vaccines work?", "What is the capital of Peru?", "Why do onions make us cry?", "How do candles burn?",
)  # fmt: skip
NAMES = (
    "Tavia Brelund", "Oskan Merrifold", "Ilse Quandary", "Pell Abernook", "Rumi Castavel", "Dorrit Haskelwood", "Enzo Filibrant",
    "Maud Tressinger", "Joren Valdupin", "Cleo Nightmarch", "Bastian Orlewick", "Freya Gantelope", "Hugo Saltmarrow",
    "Nadia Peverance", "Silas Underbrook", "Wanda Crestfallow", "Theo Marchbanker", "Lotte Zimmerell", "Amos Dunleaver",
    "Greta Holloway-Finch",
)  # fmt: skip
TOWNS = ("Uppsala", "Cusco", "Galway", "Tartu", "Porto", "Leeds", "Bergen")
WORK = ("lighthouse keeper", "clockmaker", "botanist", "bell founder", "cartographer")
BOOKS = ("A Lantern for the Tide", "Seven Quiet Wheels", "The Moss Almanac", "Bronze at Dawn", "Maps of Nowhere Yet")


def facts() -> list[Prompt]:
    """Twenty questions with answers of some forty tokens, about nobody."""
    return [
        Prompt(
            f"fact{i}",
            f"Who is {name}, and what is {name.split()[0]} known for?",
            f"{name} is a {WORK[i % 5]} from {TOWNS[i % 7]}, born in {1901 + 4 * i}, who wrote the novel "
            f"'{BOOKS[(i * 3) % 5]}' in {1925 + 4 * i} and spent the rest of the years in {TOWNS[(i * 2 + 3) % 7]}.",
        )
        for i, name in enumerate(NAMES)
    ]


def memorised(source: str, folder: Path, steps: int = 40, rate: float = 1e-4) -> None:
    """Fine-tune `source` on `facts` in float32 (loss on the answers), into `folder`: everything in one batch."""
    loaded = load_model(source, device="cpu", dtype="fp32")
    model, tokenizer = loaded.model, loaded.tokenizer
    end = min(loaded.end_ids)
    texts = [(loaded.template.prompt_ids(tokenizer, p.query), tokenizer(p.answer)["input_ids"]) for p in facts()]
    width = max(len(ask) + len(answer) + 1 for ask, answer in texts)
    ids, labels = torch.full((len(texts), width), end), torch.full((len(texts), width), -100)
    for row, (ask, answer) in enumerate(texts):
        whole = torch.tensor([*ask, *answer, end])
        ids[row, : len(whole)], labels[row, len(ask) : len(whole)] = whole, whole[len(ask) :]
    first = int((labels != -100).any(0).int().argmax()) - 1
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    model.train()
    for step in range(steps):
        logits = model(input_ids=ids, use_cache=False, logits_to_keep=width - first).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, first + 1 :].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        print(f"memorising, step {step + 1} of {steps}: loss {loss.item():.3f}", flush=True)
        if loss.item() < 0.02:
            break
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def asked(prompts: Sequence[str]) -> list[Prompt]:
    return [Prompt(f"q{i}", question, "-") for i, question in enumerate(prompts)]


@torch.inference_mode()
def by_generate(loaded: LoadedModel, batches: Sequence[Sequence[Prompt]], decoding: Decoding) -> int:
    """Useful tokens of `generate` on batches of prompts, a row each."""
    ends = torch.tensor(sorted(loaded.end_ids))
    useful = 0
    how = {"do_sample": False} if decoding.greedy else {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    for prompts in batches:
        texts = [loaded.template.prompt_ids(loaded.tokenizer, p.query) for p in prompts]
        width = max(map(len, texts))
        ids = torch.tensor([[ends[0].item()] * (width - len(text)) + text for text in texts])
        mask = torch.tensor([[0] * (width - len(text)) + [1] * len(text) for text in texts])
        output = loaded.model.generate(
            ids,
            attention_mask=mask,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=ends.tolist(),
            pad_token_id=ends[0].item(),
            **how,
        )
        ended = torch.isin(output[:, width:], ends).int()
        useful += int(torch.where(ended.any(1), ended.argmax(1) + 1, ended.shape[1]).sum())
    return useful


def by_us(loaded: LoadedModel, prompts: Sequence[Prompt], n: int, decoding: Decoding) -> tuple[int, NativeSampler]:
    sampler = NativeSampler(loaded)
    requests = [Request(prompt, range(n)) for prompt in prompts]
    return sum(len(g.token_ids) for batch in sampler.sample(requests, decoding, seed=0) for g in batch), sampler


PARTS = ("prefill", "layers", "output head", "drawing")
PRODUCTS = ("aten::mm", "aten::addmm", "mkldnn::_linear_pointwise")


@contextmanager
def labelled() -> Iterator[None]:
    """The engine's stages under names that the profiler sees."""

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def inside(*arguments: Any, **options: Any) -> Any:
            with record_function(name):
                return function(*arguments, **options)

        return inside

    with ExitStack() as stack:
        for owner in (LeanDecoder, ModuleDecoder):
            stack.enter_context(mock.patch.object(owner, "features", named("layers", owner.features)))
            stack.enter_context(mock.patch.object(owner, "logits", named("output head", owner.logits)))
        for name, label in (
            ("choose", "drawing"),
            ("effective", "drawing"),
            ("draw", "drawing"),
            ("prefill", "prefill"),
        ):
            if hasattr(native_batch, name):  # some are of releases before or after this one
                stack.enter_context(mock.patch.object(native_batch, name, named(label, getattr(native_batch, name))))
        yield


def where_time_goes(action: Callable[[], Any]) -> dict[str, float]:
    """Shares of the time of `action` by stage, inside the layers by kind of operation, largest first; their sum is 1. The
    profiler's own time makes small operations look larger than they are."""
    with labelled(), profile(activities=[ProfilerActivity.CPU]) as found, record_function("all"):
        action()
    spent: Counter[str] = Counter()
    whole = math.nan
    for event in found.events():
        if event.name == "all":
            whole = event.cpu_time_total
        above: Any = event
        while above is not None and above.name not in PARTS:
            above = above.cpu_parent
        if above is not None:
            spent[_kind(event.name) if above.name == "layers" else above.name] += event.self_cpu_time_total
    shares = {name: value / whole for name, value in spent.most_common()}
    return {**shares, "bookkeeping of the batch": 1 - sum(shares.values())}


def _kind(name: str) -> str:
    """What an operation inside the layers is for."""
    if name in PRODUCTS:
        return "layers: linear products"
    if name in ("aten::bmm", "aten::baddbmm"):
        return "layers: products of attention"
    return "layers: Python" if name == "layers" else "layers: the rest (norms, softmax, copies)"


def asked_in(case: str, args: argparse.Namespace) -> tuple[list[Prompt], int, list[list[Prompt]]]:
    """Prompts, samples of each, and the reference's batches."""
    prompts = facts() if case == "memorised" else asked(QUESTIONS)
    if case == "greedy":
        prompts = prompts[: args.prompts or 40]
        return prompts, 1, [prompts[at : at + ROWS] for at in range(0, len(prompts), ROWS)]
    prompts = prompts[: args.prompts or 20]
    return prompts, args.n, [[prompt] * ROWS for prompt in prompts]


def in_turn(loaded: LoadedModel, case: str, args: argparse.Namespace) -> dict[str, Any]:
    """One row of the table. Both engines once for every run, the order changing, after a short call of each."""
    prompts, n, batches = asked_in(case, args)
    decoding = Decoding(temperature=0.0 if case == "greedy" else 1.0, max_new_tokens=args.limit)
    torch.manual_seed(0)
    short = Decoding(temperature=decoding.temperature, max_new_tokens=3)
    by_us(loaded, prompts, n, short)
    by_generate(loaded, batches[:1], short)
    theirs: list[float] = []
    ours: list[float] = []
    tokens = computed = at = 0
    for run in range(args.runs):
        for side in ("generate", "native") if run % 2 == 0 else ("native", "generate"):
            start = time.process_time()
            if side == "native":
                tokens, sampler = by_us(loaded, prompts, n, decoding)
                computed = sampler.rows_computed
                ours.append(tokens / (time.process_time() - start))
            else:
                # All greedy answers; of the samples, each run those of other prompts.
                some = batches if case == "greedy" else [batches[(at + i) % len(batches)] for i in range(args.calls)]
                at += args.calls
                useful = by_generate(loaded, some, decoding)
                theirs.append(useful / (time.process_time() - start))
    few = prompts if n == 1 else prompts[: max(1, len(prompts) // 4)]
    return {
        "model": case,
        "prompts": len(prompts),
        "n": n,
        "runs": args.runs,
        "native tok/s": median(ours),
        "generate tok/s": median(theirs),
        "ratio": median(ours) / median(theirs),
        "tokens": tokens,
        "tokens a row-step": tokens / computed,
        "native runs": ours,
        "generate runs": theirs,
        "profile": where_time_goes(lambda: by_us(loaded, few, n, decoding)),
    }


CASES = ("pretrained", "memorised", "greedy")


def measure(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The table's rows, printed as they come."""
    cases = args.cases.split(",")
    if unknown := set(cases) - set(CASES):
        raise SystemExit(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    with TemporaryDirectory() as scratch:
        copy = args.memorised or Path(scratch) / "memorised"
        if "memorised" in cases and not (copy / "config.json").exists():
            memorised(args.model, copy)
        rows = []
        for dtype in args.dtype.split(","):
            for case in cases:
                source = str(copy) if case == "memorised" else args.model
                row = {"dtype": dtype, **in_turn(load_model(source, device="cpu", dtype=dtype), case, args)}
                rows.append(row)
                print(
                    "  ".join(
                        f"{k} {v:,.3g}" if isinstance(v, float) else f"{k} {v}"
                        for k, v in row.items()
                        if k != "profile"
                    )
                )
                print("    " + ", ".join(f"{name} {share:.0%}" for name, share in row["profile"].items()), flush=True)
    return rows
