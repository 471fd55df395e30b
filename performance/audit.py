"""A whole audit against the published pipeline, in one process: sampling, ROUGE-L scores and leak@k.

    python performance/audit.py MODEL_DIR FORGET.jsonl [--n 200] [--temperature 1]

Reference: for every prompt n samples in batches of 32 rows through transformers' `generate`, `rouge_score` for each of
them, and leak@k of each prompt by the sum over sorted scores with `math.comb`. Ours: `leakatk.audit` as a user runs it;
it also writes the run, takes greedy answers, computes exact probabilities, intervals and the forecast. Both sides score
our samples, too, and must agree: the scores to the last bit, leak@k to rounding. Seconds are CPU seconds of one thread.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import math
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rouge_score.rouge_scorer import RougeScorer

import leakatk
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt, load_prompts
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding

ROWS = 32
Clock = dict[str, float]


def timed(clock: Clock, name: str, action: Callable[[], Any]) -> Any:
    start = time.process_time()
    result = action()
    clock[name] = clock.get(name, 0.0) + time.process_time() - start
    return result


@torch.inference_mode()
def generate(loaded: LoadedModel, prompt: Prompt, n: int, decoding: Decoding) -> list[str]:
    ids = torch.tensor([loaded.template.prompt_ids(loaded.tokenizer, prompt.question)])
    texts: list[str] = []
    while len(texts) < n:
        rows = ids.repeat(min(ROWS, n - len(texts)), 1)
        output = loaded.model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            do_sample=True,
            temperature=decoding.temperature,
            top_p=decoding.top_p,
            top_k=0,
            max_new_tokens=decoding.max_new_tokens,
            eos_token_id=sorted(loaded.end_ids),
            pad_token_id=loaded.tokenizer.pad_token_id,
        )
        texts += loaded.tokenizer.batch_decode(output[:, ids.shape[1] :], skip_special_tokens=True)
    return texts


def rouge(prompt: Prompt, texts: list[str]) -> list[float]:
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return [scorer.score(prompt.answer, text)["rougeL"].recall for text in texts]


def leak(scores: list[float], ks: list[int]) -> list[float]:
    """The expected largest of k scores drawn without replacement."""
    n, ordered = len(scores), sorted(scores)
    return [sum(math.comb(i, k - 1) * ordered[i] for i in range(k - 1, n)) / math.comb(n, k) for k in ks]


def reference(
    loaded: LoadedModel, prompts: list[Prompt], n: int, decoding: Decoding, ks: list[int]
) -> tuple[Clock, list[float]]:
    clock: Clock = {}
    curves = []
    for prompt in prompts:
        texts = timed(clock, "sampling", lambda: generate(loaded, prompt, n, decoding))  # noqa: B023
        scores = timed(clock, "scoring", lambda: rouge(prompt, texts))  # noqa: B023
        curves.append(timed(clock, "estimate", lambda: leak(scores, ks)))  # noqa: B023
    return clock, np.mean(curves, axis=0).tolist()


def agree(run: Run, results: dict[str, Any], prompts: list[Prompt], ks: list[int]) -> float:
    """The reference's scores and leak@k of our samples against ours; the largest difference of leak@k."""
    texts = dict(zip(run.prompt_ids, run.texts(), strict=True))
    ours = dict(zip(run.prompt_ids, run.scores("rouge-l"), strict=True))
    curves = []
    for prompt in prompts:
        scores = rouge(prompt, list(texts[prompt.id]))
        if scores != ours[prompt.id].tolist():
            raise SystemExit(f"the scores of {prompt.id} differ from rouge_score's")
        curves.append(leak(scores, ks))
    found = results["scorers"]["rouge-l"]["curves"]["samples"]["value"]
    return float(np.abs(np.mean(curves, axis=0) - found).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompts")
    parser.add_argument("--n", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=32, help="max_new_tokens")
    parser.add_argument("--profile", action="store_true", help="where the rest goes: our functions by own time")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()

    prompts = list(load_prompts(args.prompts))
    decoding = Decoding(temperature=args.temperature, max_new_tokens=args.tokens)
    ks = [1 << i for i in range(args.n.bit_length()) if 1 << i <= args.n]
    loaded = load_model(args.model, device="cpu")
    generate(loaded, prompts[0], 2, decoding)

    clock: Clock = {}
    with tempfile.TemporaryDirectory() as folder:

        def audit(where: str) -> dict[str, Any]:
            return leakatk.audit(
                loaded, prompts, out=Path(folder, where), n=args.n, ks=ks, decoding=decoding, scorers=["rouge-l"],
                paraphrases=False, quiet=True,
            )  # fmt: skip

        results = timed(clock, "whole audit", lambda: audit("timed"))
        difference = agree(Run.open(Path(folder, "timed")), results, prompts, ks)
        if args.profile:
            profile = cProfile.Profile()
            profile.runcall(audit, "profiled")
            pstats.Stats(profile).sort_stats("tottime").print_stats(15)
    theirs, curve = reference(loaded, prompts, args.n, decoding, ks)
    row = {
        "model": Path(args.model).name,
        "prompts": len(prompts),
        "n": args.n,
        "decoding": decoding.label,
        "reference s": {**theirs, "all": sum(theirs.values())},
        "ours s": {**clock, "phases (wall)": results["seconds"]},
        "ratio": sum(theirs.values()) / clock["whole audit"],
        "leak@k reference": dict(zip(ks, curve, strict=True)),
        "leak@k ours": dict(zip(ks, results["scorers"]["rouge-l"]["curves"]["samples"]["value"], strict=True)),
        "largest difference of leak@k on the same samples": difference,
    }
    print(json.dumps(row, indent=1))
    if args.out:
        args.out.write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
