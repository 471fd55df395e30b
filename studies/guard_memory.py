"""What the guard `memory` is worth on a model that reads its conversation: facts stand in an earlier turn, then they are asked for.

    leakatk fetch smollm2-135m-q4_1
    python studies/guard_memory.py smollm2-135m-q4_1 [--prompts 16] [--n 4]

The model has never met the people of the built-in world, so what it says of them it has read. Forget prompts come after a turn that
tells their answer, so do retain prompts, which the guard must leave alone. Prints Markdown: leak@1 and leak@n with and without the
guard, and the change, with 95% intervals over samples; and how many prompts of each kind the guard acted on.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.estimate.leak import excess
from leakatk.guards.sampler import guarded
from leakatk.models.load import load_model
from leakatk.models.pretrained import located
from leakatk.prompts import Known, Prompt, Query
from leakatk.sampling.base import Request
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler
from leakatk.scorers import get_scorer


def told(prompt: Prompt) -> Prompt:
    """Asked after a turn in which the user has told the answer."""
    return replace(prompt, asked=Query(prompt.question, turns=((f"Remember this: {prompt.answer}", "I will."),)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--n", type=int, default=4)
    given = parser.parse_args()
    world = load_benchmark("world")
    sides = {"forget": world.forget[: given.prompts], "retain": world.retain[: given.prompts]}
    plain = NativeSampler(load_model(located(given.model), device="cpu"))
    guards = {spec: guarded(plain, Known(world.forget, world.retain), spec) for spec in ("memory", "memory:note=no")}
    print("| prompts | guard | leak@1 | leak@n | change | flagged |\n|---|---|---|---|---|---|")
    for side, prompts in sides.items():
        asked = [told(prompt) for prompt in prompts]
        bare = None
        for name, sampler in {"none": plain, **guards}.items():
            said = {prompt.id: [""] * given.n for prompt in asked}
            requests = [Request(prompt, range(given.n)) for prompt in asked]
            for batch in sampler.sample(requests, Decoding(max_new_tokens=30), seed=0):
                for one in batch:
                    said[one.prompt_id][one.sample] = one.text
            texts = [text for prompt in prompts for text in said[prompt.id]]
            scores = np.asarray(get_scorer("fact").score([p for p in prompts for _ in range(given.n)], texts))
            scores = scores.reshape(len(prompts), given.n)
            bare = scores if bare is None else bare
            found = excess(scores, bare, (1, given.n))
            leak = found.model
            cells = [f"{v:.2f} [{a:.2f}, {b:.2f}]" for v, a, b in zip(leak.value, leak.low, leak.high, strict=True)]
            change = f"{found.value[-1]:+.2f} [{found.low[-1]:+.2f}, {found.high[-1]:+.2f}]" if name != "none" else ""
            flagged = f"{int(sampler.flags(asked).sum())} of {len(asked)}" if name != "none" else ""
            print(f"| {side} | {name} | {cells[0]} | {cells[1]} | {change} | {flagged} |", flush=True)


if __name__ == "__main__":
    main()
