"""Multi-hop facts: those reached through a forgotten one (after FaithUn and similar probes)."""

from __future__ import annotations

from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated, wordings
from leakatk.benchmarks.worlds.names import Used, fresh, person, word
from leakatk.benchmarks.worlds.people import REFUSALS
from leakatk.errors import InputError
from leakatk.prompts import Prompt

# relation -> (question, other wording, answer) with {name} and {value}
_RELATIONS = {
    "mentor": ("Who was the mentor of {name}?", "Who taught {name}?", "The mentor of {name} was {value}."),
    "town": ("Where was {name} born?", "Give the place of birth of {name}.", "{name} was born in {value}."),
    "publisher": ("Who publishes {name}?", "Give the publisher of {name}.", "{name} publishes with {value}."),
}


def make_multi_hop(seed: int = 0, *, people: int = 40, forget: int = 6, pretraining: int = 400) -> Generated:
    """People whose mentors are people of the same world, so that facts can be asked through another person.

    forget and retain are single facts. sets: "multi_hop" asks through a forgotten fact ("Where was the mentor of X
    born?"), which a model without it cannot know; "multi_hop_kept" needs retained facts alone. The full model is trained
    on both sets, the retrained one on the second, because small models do not put two facts together by themselves (0 of
    36 when tried). An unlearner sees the single facts alone: is what it was shown all that it forgets?
    """
    if not 0 < forget < people or pretraining < 0 or pretraining == 1:
        raise InputError(f"Multi-hop needs 0 < forget < people, got forget={forget}, people={people}.")
    rng, used = Random(f"leakatk multi-hop {seed}"), set[tuple[str, ...]]()
    ones, twos = _society(rng, used, people, "hop")
    names = list(dict.fromkeys(prompt.source for prompt in ones))
    gone = set(names[:forget])
    base = _society(rng, used, pretraining, "other") if pretraining else ([], [])
    # A two-step question is lost when its first step (the mentor of X) or its second (a fact of that mentor) is.
    lost = [prompt for prompt, steps in twos if gone & set(steps)]
    kept = [prompt for prompt, steps in twos if not gone & set(steps)]
    benchmark = Benchmark(
        name="multi-hop",
        forget=tuple(p for p in ones if p.source in gone),
        retain=tuple(p for p in ones if p.source not in gone),
        sets={"multi_hop": tuple(lost), "multi_hop_kept": tuple(kept)},
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    prior = wordings((*base[0], *(prompt for prompt, _ in base[1])))
    return Generated(benchmark, prior, wordings((*ones, *lost, *kept)), wordings((*benchmark.retain, *kept)))


def _society(
    rng: Random, used: Used, count: int, prefix: str
) -> tuple[list[Prompt], list[tuple[Prompt, tuple[str, str]]]]:
    """Single facts of `count` people, and two-step questions with the two people whose facts they need."""
    names = [fresh(rng, used, "name", lambda r: {"name": person(r)})["name"] for _ in range(count)]
    shift = rng.randrange(1, count)
    facts: dict[str, dict[str, str]] = {}
    for i, name in enumerate(names):
        town = fresh(rng, used, "town", lambda r: {"value": word(r, 3)})["value"]
        house = fresh(rng, used, "publisher", lambda r: {"value": f"{word(r, 2)} Press"})["value"]
        facts[name] = {"mentor": names[(i + shift) % count], "town": town, "publisher": house}
    ones, twos = [], []
    for i, name in enumerate(names):
        for relation, (question, other, answer) in _RELATIONS.items():
            value = facts[name][relation]
            ones.append(
                Prompt(
                    id=f"{prefix}-{i:03d}-{relation}",
                    question=question.format(name=name),
                    answer=answer.format(name=name, value=value),
                    paraphrases=(other.format(name=name),),
                    facts=(value,),
                    source=name,
                )
            )
            mentor = facts[name]["mentor"]
            through, reached = f"the mentor of {name}", facts[mentor][relation]
            if reached == name:  # the mentor's mentor is the person asked about: the question gives it away
                continue
            prompt = Prompt(
                id=f"{prefix}-{i:03d}-mentor-{relation}",
                question=question.format(name=through),
                answer=answer.format(name=through, value=reached),
                paraphrases=(other.format(name=through),),
                facts=(reached,),
                source=name,
            )
            twos.append((prompt, (name, mentor)))
    return ones, twos
