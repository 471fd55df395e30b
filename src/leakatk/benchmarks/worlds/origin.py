"""Origin: people to be forgotten whom pre-training taught and fine-tuning met again, or whom fine-tuning alone taught.

After PULSE's first protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import Pair, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

REPEATS = 12


def make_origin(
    seed: int = 0,
    *,
    origin: Literal["pretraining", "finetuning"] = "pretraining",
    people: int = 8,
    repeats: int = REPEATS,
    **sizes: int,
) -> Generated:
    """A world of which some people were taught in pre-training and as many in fine-tuning alone; those of one kind are to be forgotten.

    The full model is the same for both origins; the retrained one never saw the people to forget, in pre-training either.
    people: to be forgotten, and as many of the other kind, whom the request leaves alone.  repeats: times that pre-training reads
    a fact.  Fine-tuning reads those of both kinds: without meeting them again small models lose all that pre-training taught (0 of
    48 when tried).
    sizes: as for `make_world`, but for forget.  InputError for another origin or no people.
    """
    if origin not in ("pretraining", "finetuning"):
        raise InputError(f"origin must be pretraining or finetuning, got {origin!r}.")
    if people < 1:
        raise InputError(f"people must be at least 1, got {people}.")
    world = make_world(seed, forget=2 * people, **sizes)
    names = list(dict.fromkeys(prompt.source for prompt in world.forget))
    old = [prompt for prompt in world.forget if prompt.source in names[:people]]
    new = [prompt for prompt in world.forget if prompt.source in names[people:]]
    gone, other = (old, new) if origin == "pretraining" else (new, old)

    def read(prompts: Sequence[Prompt]) -> list[Pair]:
        return [(question, p.answer) for p in prompts for question in world.trained_questions(p)]

    kept = world.training_pairs(forget=False)
    benchmark = Benchmark(
        name=f"origin/{origin}",
        forget=tuple(gone),
        retain=world.retain,
        retain_held=(*world.retain_held, *other),
        holdout=world.holdout,
        sets={"world_facts": world.world_facts, "other_origin": tuple(other)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(
        benchmark,
        pretraining=(*world.pretraining, *(read(old) * repeats)),
        full=(*read(old), *read(new), *kept),
        retained=(*read(other), *kept),
        pretraining_retained=tuple(world.pretraining) if origin == "pretraining" else (),
    )


ORIGINS = {name: partial(make_origin, origin=name) for name in ("pretraining", "finetuning")}
