"""Topics: a whole kind of question to be forgotten, contracts, and another to be kept, people.

For what tells topics apart and not single people, as most guards on the inside of a model were published.
"""

from __future__ import annotations

from dataclasses import replace

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.contracts import make_contracts, star
from leakatk.benchmarks.worlds.generated import Generated, wordings
from leakatk.benchmarks.worlds.people import REFUSALS, make_world


def make_topics(seed: int = 0, *, contracts: int = 9, people: int = 28, pretraining: int = 300) -> Generated:
    """Contracts of one company to forget, the built-in world's people to keep.

    contracts: how many are to be forgotten; as many again are known to nobody (`holdout`).  people: how many are to be kept.
    pretraining: contracts and people of the language prior, each.
    """
    known = make_contracts(seed, edges=star(contracts + 2), forget=star(contracts + 1), pretraining=pretraining)
    others = make_contracts(seed + 1, edges=star(contracts + 2), forget=star(contracts + 1), pretraining=0)
    world = make_world(seed, retain=people, pretraining=pretraining)
    benchmark = Benchmark(
        name="topics",
        forget=known.benchmark.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=tuple(replace(prompt, id=f"holdout-{prompt.id}") for prompt in others.benchmark.forget),
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    kept = wordings((*world.retain, *world.retain_held))
    return Generated(benchmark, (*known.pretraining, *world.pretraining), (*wordings(benchmark.forget), *kept), kept)
