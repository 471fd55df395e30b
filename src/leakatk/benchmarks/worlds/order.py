"""Order: the same people learnt in stages whose order differs, those to be forgotten first, in the middle or last.

After "On the Impossibility of Retrain Equivalence in Machine Unlearning", 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, get_args

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import Pair, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

Position = Literal["first", "middle", "last"]
POSITIONS: tuple[Position, ...] = get_args(Position)


def make_order(seed: int = 0, *, position: Position = "last", often: int = 4, **sizes: int) -> Generated:
    """The built-in world learnt in three stages: the people to forget, one half of all others, the other half.

    position: of the stage of the people to forget.  often: times that a stage reads its own facts; those of the other stages it reads
    once, because small models lose what they do not meet again. So all orders read the same facts equally often, and end elsewhere.
    The retrained model reads the two other stages. sets: "world_facts".  sizes: as for `make_world`.  InputError for another position.
    """
    if position not in POSITIONS:
        raise InputError(f"position must be {', '.join(POSITIONS)}, got {position!r}.")
    if often < 1:
        raise InputError(f"often must be at least 1, got {often}.")
    world = make_world(seed, **sizes)
    others = (*world.retain, *world.retain_held, *world.world_facts)
    names = list(dict.fromkeys(prompt.source for prompt in others))
    early = set(names[::2])
    halves = [[p for p in others if (p.source in early) == first] for first in (True, False)]

    def read(prompts: Sequence[Prompt], times: int) -> list[Pair]:
        return [(question, p.answer) for p in prompts for question in world.trained_questions(p)] * times

    def stages(groups: Sequence[Sequence[Prompt]]) -> tuple[tuple[Pair, ...], ...]:
        return tuple(
            tuple(pair for i, group in enumerate(groups) for pair in read(group, often if i == own else 1))
            for own in range(len(groups))
        )

    order: list[Sequence[Prompt]] = [*halves]
    order.insert(POSITIONS.index(position), world.forget)
    learnt, kept = stages(order), stages(halves)
    benchmark = Benchmark(
        name=f"order/{position}",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"world_facts": world.world_facts},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(
        benchmark,
        world.pretraining,
        full=tuple(pair for stage in learnt for pair in stage),
        retained=tuple(pair for stage in kept for pair in stage),
        stages=learnt,
        stages_retained=kept,
    )


ORDERS = {position: partial(make_order, position=position) for position in POSITIONS}
