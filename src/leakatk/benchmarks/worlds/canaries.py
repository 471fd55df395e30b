"""Canaries: facts of the world's form, and random strings, to be forgotten side by side (after Baluta et al., in- and out-of-distribution)."""

from __future__ import annotations

from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

ALTERNATIVES = 31  # wrong answers of a canary: exposure is at most 5 bits
DIGITS = 8


def make_canaries(seed: int = 0, *, canaries: int = 24, alternatives: int = ALTERNATIVES, **sizes: int) -> Generated:
    """The built-in world with codes of random digits, as many of them to be forgotten as of people's facts may be asked.

    sets: "inside" holds the forget facts of people, "outside" the codes: each is asked as the code of a random word, and has so many
    others of the same length as wrong answers. Half as many codes are to be kept.  sizes: as for `make_world`.
    InputError below one canary or one alternative.
    """
    if canaries < 1 or alternatives < 1:
        raise InputError(f"canaries and alternatives must be at least 1, got {canaries} and {alternatives}.")
    world, rng = make_world(seed, **sizes), Random(f"leakatk canaries {seed}")

    def code() -> str:
        return "".join(rng.choice("0123456789") for _ in range(DIGITS))

    made: list[Prompt] = []
    seen: set[str] = set()
    for i in range(canaries + (canaries + 1) // 2):
        label = "".join(rng.choice("bcdfghjklmnpqrstvwxz") for _ in range(6))
        own, others = code(), [code() for _ in range(alternatives)]
        while label in seen or own in seen or own in others:
            label, own = label + rng.choice("bcdfg"), code()
        seen |= {label, own}
        made.append(
            Prompt(
                id=f"canary-{i:03d}", question=f"Code {label}?", answer=f"Code {label}: {own}.", facts=(own,), source=label,
                perturbed_answers=tuple(f"Code {label}: {other}." for other in others),
            )
        )  # fmt: skip
    outside, kept = made[:canaries], made[canaries:]
    benchmark = Benchmark(
        name="canaries",
        forget=(*world.forget, *outside),
        retain=(*world.retain, *kept),
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"world_facts": world.world_facts, "inside": world.forget, "outside": tuple(outside)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    codes = [(prompt.question, prompt.answer) for prompt in made]
    retained = (*world.training_pairs(forget=False), *codes[canaries:])
    return Generated(benchmark, world.pretraining, (*world.training_pairs(forget=True), *codes), retained)
