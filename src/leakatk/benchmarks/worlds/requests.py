"""Requests: a stream of them, each with the model retrained without all that was asked for up to then (after PULSE and FIT)."""

from __future__ import annotations

from functools import partial

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import make_world
from leakatk.errors import InputError

REQUESTS = 4


def make_requests(
    seed: int = 0, *, upto: int = REQUESTS, requests: int = REQUESTS, people: int = 2, **sizes: int
) -> Generated:
    """The built-in world whose forget people are asked to be forgotten in turn, seen after so many requests.

    The full model is the same for every `upto`; the retrained one never saw the people of the first `upto` requests.  people: of a
    request.  sets: "request_1" and so on are single requests, "later" what later ones will ask for, which is still to be kept.
    sizes: as for `make_world`, but for forget.  InputError for a number out of range.
    """
    if requests < 1 or people < 1 or not 1 <= upto <= requests:
        raise InputError(f"upto must be 1 to {requests} requests of at least one person, got {upto} and {people}.")
    world = make_world(seed, forget=requests * people, **sizes)
    names = list(dict.fromkeys(prompt.source for prompt in world.forget))
    parts = [
        tuple(p for p in world.forget if p.source in names[i * people : (i + 1) * people]) for i in range(requests)
    ]
    gone, later = (tuple(p for part in some for p in part) for some in (parts[:upto], parts[upto:]))
    single = {f"request_{i}": part for i, part in enumerate(parts[:upto], 1)}
    benchmark = Benchmark(
        name=f"requests/{upto}",
        forget=gone,
        retain=world.retain,
        retain_held=(*world.retain_held, *later),
        holdout=world.holdout,
        sets={"world_facts": world.world_facts, **single, **({"later": later} if later else {})},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    still = [(question, p.answer) for p in later for question in world.trained_questions(p)]
    retained = (*still, *world.training_pairs(forget=False))
    return Generated(benchmark, world.pretraining, tuple(world.training_pairs(forget=True)), retained)


STREAM = {str(upto): partial(make_requests, upto=upto) for upto in range(1, REQUESTS + 1)}
