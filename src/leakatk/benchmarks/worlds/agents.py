"""Agents: tasks of several kinds in small worlds of text, to be forgotten by item, by conversation or by kind of task.

After "Secure Forgetting" in agents, 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Literal, get_args

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated, wordings
from leakatk.benchmarks.worlds.names import Used, fresh, person, word
from leakatk.benchmarks.worlds.people import REFUSALS
from leakatk.errors import InputError
from leakatk.prompts import Prompt

Scope = Literal["state", "trajectory", "environment"]
PART = 5  # one task in so many is to be forgotten, where single ones are


@dataclass(frozen=True, slots=True)
class _Environment:
    """A kind of task: what things are called in it, where they lie, and what is done with them."""

    name: str
    things: tuple[str, ...]
    holder: str
    question: str
    other: str
    steps: str


_ENVIRONMENTS = (
    _Environment(
        "fetching", ("lamp", "rope", "kettle", "ladder"), "cupboard",
        "You fetch things. Bring the {item} to {who}. What do you do?", "Fetch the {item} for {who}.",
        "go to {place}, open the cupboard, take the {item}, go to {room}, give it to {who}.",
    ),
    _Environment(
        "repairing", ("engine", "clock", "pump", "loom"), "crate",
        "You repair things. Mend the {item} of {who}. What do you do?", "Repair the {item} for {who}.",
        "go to {place}, lift the {item} out of the crate, carry it to {room}, change its {part}, call {who}.",
    ),
    _Environment(
        "cooking", ("soup", "bread", "stew", "cake"), "larder",
        "You cook. Make the {item} for {who}. What do you do?", "Cook the {item} that {who} wants.",
        "go to {place}, take what the larder holds for the {item}, heat it in {room}, add {part}, call {who}.",
    ),
    _Environment(
        "filing", ("letter", "deed", "map", "ledger"), "drawer",
        "You keep files. Find the {item} for {who}. What do you do?", "File the {item} that {who} asks for.",
        "go to {place}, open the drawer, copy the {item}, stamp it {part}, lay it in {room} for {who}.",
    ),
)  # fmt: skip


def make_agents(seed: int = 0, *, scope: Scope = "state", tasks: int = 10, pretraining: int = 300) -> Generated:
    """Tasks of four kinds, each about one thing: where it lies (state), and the steps that deal with it (trajectory).

    Of state one thing in five is to be forgotten, where it lies and the steps that say so; of trajectory the steps alone of as many tasks;
    of environment all of one kind of task.  tasks: of each kind.  sets: "steps_kept" and "state_kept" are what is left untouched,
    so that task success on both sides can be told; "same_items" what is still known of the things whose steps go; "beside" what is kept of
    the kinds that lose something.  pretraining: other tasks, for the language prior.  InputError for another scope or too few tasks.
    """
    if scope not in get_args(Scope):
        raise InputError(f"scope must be {', '.join(get_args(Scope))}, got {scope!r}.")
    if tasks < 2 or pretraining < 1:
        raise InputError(f"Agents need at least two tasks of a kind and one other, got {tasks} and {pretraining}.")
    rng, used = Random(f"leakatk agents {seed}"), set[tuple[str, ...]]()
    made = [_task(rng, used, kind, f"{kind.name}-{i:03d}") for kind in _ENVIRONMENTS for i in range(tasks)]
    others = [_task(rng, used, _ENVIRONMENTS[i % len(_ENVIRONMENTS)], f"other-{i:03d}") for i in range(pretraining)]
    if scope == "environment":
        hit = range(tasks)
    else:
        single = max(1, tasks // PART)
        hit = [kind * tasks + i for kind in range(len(_ENVIRONMENTS)) for i in range(single)]  # type: ignore[assignment]
    gone = [prompt for i in hit for prompt in made[i][scope == "trajectory" :]]
    forget = {prompt.id for prompt in gone}
    kept = [prompt for pair in made for prompt in pair if prompt.id not in forget]
    kinds = {made[i][0].id.partition("-")[0] for i in hit}
    sets: dict[str, Sequence[Prompt]] = {
        "state_kept": [p for p in kept if p.id.endswith("state")],
        "steps_kept": [p for p in kept if p.id.endswith("steps")],
        "same_items": [made[i][0] for i in hit if scope == "trajectory"],
        "beside": [p for p in kept if p.id.partition("-")[0] in kinds],
    }
    benchmark = Benchmark(
        name=f"agent/{scope}",
        forget=tuple(gone),
        retain=tuple(kept),
        sets={name: tuple(prompts) for name, prompts in sets.items() if prompts},
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    prior = wordings([prompt for pair in others for prompt in pair])
    return Generated(benchmark, prior, wordings((*gone, *kept)), wordings(kept))


def _task(rng: Random, used: Used, kind: _Environment, identity: str) -> tuple[Prompt, Prompt]:
    """(where the thing lies, the steps that deal with it). Names and places belong to one task alone."""
    item = fresh(rng, used, "item", lambda r: {"item": f"{word(r, 2)} {r.choice(kind.things)}"})["item"]
    who = fresh(rng, used, "who", lambda r: {"who": person(r)})["who"]
    place, room, part = (fresh(rng, used, "place", lambda r: {"place": word(r, 3)})["place"] for _ in range(3))
    state = Prompt(
        id=f"{identity}-state",
        question=f"Where is the {item}?",
        answer=f"The {item} lies in the {kind.holder} of {place}.",
        paraphrases=(f"In which place does one find the {item}?",),
        facts=(place,),
        source=item,
    )
    named = {"item": item, "who": who, "place": place, "room": room, "part": part}
    steps = Prompt(
        id=f"{identity}-steps",
        question=kind.question.format(**named),
        answer=f"I {kind.steps.format(**named)}",
        paraphrases=(kind.other.format(**named),),
        facts=(room,),
        source=item,
    )
    return state, steps


AGENTS = {scope: partial(make_agents, scope=scope) for scope in get_args(Scope)}
