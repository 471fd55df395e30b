"""Frequency: facts seen once, or many times, in training.

After "Not All Data Are Unlearned Equally", 2025."""

from __future__ import annotations

from collections.abc import Sequence

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import Pair, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt


def make_frequency(seed: int = 0, *, counts: Sequence[int] = (1, 4, 16), **sizes: int) -> Generated:
    """A world in which the facts of each person are repeated `counts[i]` times in training; people take turns.

    sizes: as for `make_world`. sets: "seen_4" holds the forget prompts seen four times, and so on.
    """
    if not counts or min(counts) < 1:
        raise InputError(f"counts must be whole numbers of at least 1, got {list(counts)}.")
    world = make_world(seed, **sizes)
    turn: dict[str, int] = {}
    for split in (world.forget, world.retain, world.retain_held):
        for i, name in enumerate(dict.fromkeys(prompt.source for prompt in split)):
            turn[name] = counts[i % len(counts)]

    def repeated(prompts: Sequence[Prompt]) -> list[Pair]:
        return [
            (question, prompt.answer)
            for prompt in prompts
            for question in world.trained_questions(prompt)
            for _ in range(turn.get(prompt.source, max(counts)))
        ]

    kept = repeated((*world.retain, *world.retain_held, *world.world_facts))
    benchmark = Benchmark(
        name="frequency",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={f"seen_{c}": tuple(p for p in world.forget if turn[p.source] == c) for c in dict.fromkeys(counts)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(benchmark, world.pretraining, tuple(repeated(world.forget) + kept), tuple(kept))
