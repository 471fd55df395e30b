"""Encoding: how facts stood in what a model was trained on, and how they are asked to be forgotten.

After "learning-time encoding" (Eval-DU+, TOFU+): one wording or several, facts alone or in one text of a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.people import WORDINGS, Pair, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt

SEVERAL = 3  # wordings; the fourth is asked by nobody who trains
ABOUT = "Tell me all about {}."


def make_encoding(
    seed: int = 0,
    *,
    forget_wordings: int = 1,
    retain_wordings: int = 1,
    texts: bool = False,
    facts: bool = True,
    sentence: bool = False,
    **sizes: int,
) -> Generated:
    """A world whose people were learnt in a stated form.

    forget_wordings, retain_wordings: of a question, that models are trained on for people to forget and to keep.
    texts: all facts of a person are learnt as one answer to one question, and no fact is asked for by itself.
    facts: a request to forget names single facts; with texts, False: it names the whole answer, as it was learnt.
    sentence: with texts, all facts of a person stand in one sentence; else each has its own.
    sizes: as for `make_world`.  sets: "facts" holds the forget people's facts one by one, whatever the request.
    InputError for a number of wordings out of range.
    """
    for count in (forget_wordings, retain_wordings):
        if not 1 <= count <= WORDINGS:
            raise InputError(f"Wordings must be 1 to {WORDINGS}, got {count}.")
    if sentence and not texts:
        raise InputError("Facts stand in one sentence only where they were learnt as texts: give texts=True.")
    if not (texts or facts):
        raise InputError("A request names whole texts only where facts were learnt so: give texts=True.")
    world = make_world(seed, **sizes)

    def learnt(prompts: Sequence[Prompt], wordings: int) -> list[Pair]:
        if texts:
            return [(prompt.question, prompt.answer) for prompt in together(prompts, sentence)]
        return [(q, p.answer) for p in prompts for q in (p.question, *p.paraphrases)[:wordings]]

    def asked(prompts: Sequence[Prompt]) -> tuple[Prompt, ...]:
        return (
            tuple(replace(p, question=ABOUT.format(p.source), paraphrases=()) for p in prompts)
            if texts
            else tuple(prompts)
        )

    kept = learnt((*world.retain, *world.retain_held), retain_wordings)
    kept += [(prompt.question, prompt.answer) for prompt in world.world_facts]
    whole = not facts
    benchmark = Benchmark(
        name="encoding",
        forget=together(world.forget, sentence) if whole else asked(world.forget),
        retain=together(world.retain, sentence) if whole else asked(world.retain),
        retain_held=asked(world.retain_held),
        holdout=asked(world.holdout),
        sets={"facts": asked(world.forget)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(benchmark, world.pretraining, (*learnt(world.forget, forget_wordings), *kept), tuple(kept))


def together(prompts: Sequence[Prompt], sentence: bool = False) -> tuple[Prompt, ...]:
    """One prompt a person, answered by all of their facts: a sentence each, or all in one sentence.

    >>> ada = [Prompt("a", "?", "Ada wept.", source="Ada"), Prompt("b", "?", "Ada slept.", source="Ada")]
    >>> together(ada)[0].answer, together(ada, sentence=True)[0].answer
    ('Ada wept. Ada slept.', 'Ada wept, and Ada slept.')
    """
    found: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        found.setdefault(prompt.source, []).append(prompt)
    return tuple(
        Prompt(
            f"{mine[0].id}/all", ABOUT.format(name), _joined([prompt.answer for prompt in mine], sentence),
            facts=tuple(fact for prompt in mine for fact in prompt.facts), source=name,
        )
        for name, mine in found.items()
    )  # fmt: skip


def _joined(answers: Sequence[str], sentence: bool) -> str:
    if not sentence:
        return " ".join(answers)
    first, *later = (answer.rstrip(".") for answer in answers)
    return ", and ".join([first, *(part.replace("The ", "the ", 1) for part in later)]) + "."


# Variants by name: the study's four, and texts with requests as they were learnt and fact by fact.
ENCODINGS = {
    "single": partial(make_encoding),
    "forget-many": partial(make_encoding, forget_wordings=SEVERAL),
    "retain-many": partial(make_encoding, retain_wordings=SEVERAL),
    "many": partial(make_encoding, forget_wordings=SEVERAL, retain_wordings=SEVERAL),
    "texts": partial(make_encoding, texts=True, facts=False),
    "texts-by-fact": partial(make_encoding, texts=True),
    "sentence": partial(make_encoding, texts=True, facts=False, sentence=True),
    "sentence-by-fact": partial(make_encoding, texts=True, sentence=True),
}
