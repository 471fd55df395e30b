"""Same answers: facts to keep that have the same answer as a fact to forget (after FaithUn).

What is forgotten is who it belongs to: an unlearner that makes its answer unlikely everywhere fails on these.
"""

from __future__ import annotations

from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated, wordings
from leakatk.benchmarks.worlds.names import fresh, person, word
from leakatk.benchmarks.worlds.people import PERTURBED, REFUSALS
from leakatk.errors import InputError
from leakatk.prompts import Prompt

# relation -> (question, other wording, answer) with {name} and {value}
RELATIONS = {
    "town": ("Where was {name} born?", "Give the place of birth of {name}.", "{name} was born in {value}."),
    "publisher": ("Who publishes {name}?", "Give the publisher of {name}.", "{name} publishes with {value}."),
    "school": ("Which school did {name} attend?", "Where did {name} go to school?", "{name} went to {value}."),
}
_ENDS = {"town": "", "publisher": " Press", "school": " College"}


def make_same_answer(
    seed: int = 0, *, forget: int = 8, sharing: int = 2, others: int = 16, pretraining: int = 800
) -> Generated:
    """People to forget, and for each of their facts so many others who have the same answer and are to be kept.

    sharing: people to keep for each person to forget; one has the same town, publisher and school, in turn with those of the next
    person, so that no two people have all in common.  others: people to keep who share nothing.  sets: "same_answer" holds the facts to
    keep whose answer is also that of a fact to forget.  InputError for sizes out of range.
    """
    if forget < 1 or sharing < 1 or others < 1 or pretraining < 0:
        raise InputError(
            f"The world of same answers needs forget, sharing and others of at least 1, got {forget}, {sharing} and {others}."
        )
    rng, used = Random(f"leakatk same answer {seed}"), set[tuple[str, ...]]()

    def values() -> dict[str, str]:
        return {
            kind: fresh(rng, used, kind, lambda r, end=end: {"value": word(r, 3) + end})["value"]  # type: ignore[misc]
            for kind, end in _ENDS.items()
        }

    def facts(identity: str, own: dict[str, str]) -> list[Prompt]:
        name = fresh(rng, used, "name", lambda r: {"name": person(r)})["name"]
        found = []
        for kind, (question, other, answer) in RELATIONS.items():
            wrong = [word(rng, 3) + _ENDS[kind] for _ in range(PERTURBED)]
            found.append(
                Prompt(
                    id=f"{identity}-{kind}", question=question.format(name=name), answer=answer.format(name=name, value=own[kind]),
                    paraphrases=(other.format(name=name),), facts=(own[kind],), source=name,
                    perturbed_answers=tuple(answer.format(name=name, value=value) for value in wrong),
                )
            )  # fmt: skip
        return found

    gone = [values() for _ in range(forget)]
    lost = [prompt for i, own in enumerate(gone) for prompt in facts(f"forget-{i:03d}", own)]
    sharers: list[Prompt] = []
    for i in range(forget):
        for j in range(sharing):
            # Of the three values each comes from another person where there are so many.
            mixed = {kind: gone[(i + (j + 1) * step) % forget][kind] for step, kind in enumerate(RELATIONS)}
            sharers += facts(f"sharing-{i:03d}-{j}", mixed)
    rest = [prompt for i in range(others) for prompt in facts(f"other-{i:03d}", values())]
    prior = [prompt for i in range(pretraining) for prompt in facts(f"pretraining-{i:05d}", values())]
    benchmark = Benchmark(
        name="same-answer",
        forget=tuple(lost),
        retain=tuple(rest),
        retain_held=tuple(sharers),
        sets={"same_answer": tuple(sharers)},
        refusals=REFUSALS,
        origin=f"generated, seed {seed}",
    )
    kept = wordings((*rest, *sharers))
    return Generated(benchmark, wordings(prior), (*wordings(lost), *kept), kept)
