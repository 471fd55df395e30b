"""What does a guard cost where it flags nothing? Sampling with and without it, in one process and in turn.

    python performance/guards.py MODEL [--guards curate,eco,dragon,alu] [--n 16] [--tokens 40] [--runs 3] [--json guards.json]

    python performance/guards.py --wordings [--encoder words]

MODEL: one of the built-in world (`leakatk train-small world`). Its retain prompts are drawn by the native engine alone, and behind
each guard, fitted on the forget prompts; those that are flagged are left out of both. Processor seconds of one thread, the least
of the runs: a busy machine only adds to them. Behind a guard the detector's cache is empty each time. Also: the detector's time a
prompt, and the least number of answers a prompt for which it is a tenth of sampling.

--wordings: what training does for `curate`. Sixteen people, four to forget, eight to keep, four never met, four questions each: how
many questions in new words, and how many about people never met, are flagged at the threshold of 0.8.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

from leakatk.benchmarks.catalog import load_benchmark
from leakatk.guards.contrastive import Trained
from leakatk.guards.sampler import GuardedSampler, guarded
from leakatk.models.load import load_model
from leakatk.prompts import Known, Prompt
from leakatk.sampling.base import Request, Sampler
from leakatk.sampling.decoding import Decoding
from leakatk.sampling.native import NativeSampler

FIRST = ["Ada", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal", "Ida", "Jon", "Kim", "Lea", "Max", "Nia", "Ola", "Pim"]
LAST = [
    "Korvin",
    "Tamsin",
    "Dellane",
    "Quell",
    "Marsh",
    "Ostrow",
    "Pell",
    "Rusk",
    "Sable",
    "Thorn",
    "Ulric",
    "Varga",
    "Wynn",
    "Yarrow",
    "Zane",
    "Abbot",
]
ASKED = ("Where was {} born?", "Who taught {}?", "What did {} write?", "Which prize did {} win?")
OTHERWISE = (
    "I wonder in which town {} was born.", "Name the teacher of {}.", "Tell me the title of a book by {}.",
    "What award was given to {}?",
)  # fmt: skip


def wordings(encoder: str) -> None:
    """Print what an untrained and a trained detector flag."""

    def about(people: list[str], forms: tuple[str, ...]) -> tuple[Prompt, ...]:
        return tuple(Prompt(f"{name} {i}", form.format(name), "x") for name in people for i, form in enumerate(forms))

    people = [f"{first} {last}" for first, last in zip(FIRST, LAST, strict=True)]
    known = Known(about(people[:4], ASKED), about(people[4:12], ASKED), encoder=encoder)
    new, strangers = about(people[:4], OTHERWISE), about(people[12:], ASKED)
    for options in ({}, {"steps": 50, "rate": 0.003}, {"steps": 150, "rate": 0.01}):
        made = Trained(**options).fit(known, None)
        print(
            f"{options}: {made.flags(new).sum()} of {len(new)} in new words, {made.flags(strangers).sum()} of {len(strangers)} never met"
        )


def seconds(sampler: Sampler, prompts: list[Prompt], n: int, decoding: Decoding) -> tuple[float, int]:
    """(processor seconds, tokens drawn)"""
    if isinstance(sampler, GuardedSampler):
        sampler.start_over()
    start, tokens = time.process_time(), 0
    for batch in sampler.sample([Request(prompt, range(n)) for prompt in prompts], decoding, seed=0):
        tokens += sum(len(one.token_ids) for one in batch)
    return time.process_time() - start, tokens


def detecting(sampler: GuardedSampler, prompts: list[Prompt]) -> float:
    sampler.start_over()
    start = time.process_time()
    sampler.flags(prompts)
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="")
    parser.add_argument("--wordings", action="store_true")
    parser.add_argument("--guards", default="curate,eco,dragon,alu")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--n", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if given.wordings:
        wordings(given.encoder)
        return
    world = load_benchmark("world")
    loaded = load_model(given.model, device="cpu")
    decoding = Decoding(max_new_tokens=given.tokens)
    known = Known(world.forget, world.retain, encoder=given.encoder)
    plain, rows = NativeSampler(loaded), dict[str, Any]()
    for spec in given.guards.split(","):
        behind = guarded(plain, known, spec)
        free = [
            prompt for prompt, flag in zip(world.retain_held, behind.flags(world.retain_held), strict=True) if not flag
        ]
        bare = with_guard = found = math.inf
        tokens = 0
        for _ in range(given.runs):
            one, tokens = seconds(plain, free, given.n, decoding)
            bare = min(bare, one)
            with_guard = min(with_guard, seconds(behind, free, given.n, decoding)[0])
            found = min(found, detecting(behind, free))
        each = found / len(free)
        rows[spec] = {
            "prompts": len(free), "tokens": tokens, "seconds": bare, "behind": with_guard, "ratio": with_guard / bare,
            "detector_ms": 1000 * each, "detector_share": found / bare, "us_per_token": 1e6 * (with_guard - bare) / tokens,
            "answers_for_a_tenth": math.ceil(10 * found / (bare / given.n)),
        }  # fmt: skip
        print(
            f"{spec}: {len(free)} prompts x {given.n}, {tokens:,} tokens; alone {bare:.2f} s, behind it {with_guard:.2f} s "
            f"({with_guard / bare - 1:+.1%}); detector {1000 * each:.2f} ms a prompt, {found / bare:.1%} of sampling; a tenth from "
            f"{rows[spec]['answers_for_a_tenth']} answers a prompt on"
        )
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
