"""Languages: a world told in two, the second a codebook of invented words for those of the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generated import Generated
from leakatk.benchmarks.worlds.names import MONTHS, Used, fresh, word
from leakatk.benchmarks.worlds.people import Pair, World, make_world
from leakatk.prompts import Prompt

_WORD = re.compile(r"[A-Za-z]+")


class Codebook:
    """One invented word for each word that is no value: what is asked and how it is answered. Names, dates and values stay.

    The same seed gives the same words, in whatever order texts come.
    """

    def __init__(self, words: Sequence[str], seed: int) -> None:
        rng, used = Random(f"leakatk codebook {seed}"), Used()
        drawn = {
            one: fresh(rng, used, "word", lambda r: {"word": word(r, 2).lower()})["word"] for one in sorted(set(words))
        }
        self.words = drawn

    def translated(self, text: str) -> str:
        """Each word of the book by its own; a capital stays one. A capital after the first word is a name's or a title's, and stays."""

        def other(found: re.Match[str]) -> str:
            large = found[0][0].isupper()
            if found[0].lower() not in self.words or (large and found.start()):
                return found[0]
            said = self.words[found[0].lower()]
            return said.capitalize() if large else said

        return _WORD.sub(other, text)

    def prompt(self, prompt: Prompt) -> Prompt:
        """Question, answers and other wordings in the second language; the facts are the same."""
        return replace(
            prompt,
            id=f"{prompt.id}-second",
            question=self.translated(prompt.question),
            answer=self.translated(prompt.answer),
            paraphrases=tuple(map(self.translated, prompt.paraphrases)),
            paraphrased_answer=self.translated(prompt.paraphrased_answer),
            perturbed_answers=tuple(map(self.translated, prompt.perturbed_answers)),
        )


def book_of(world: World, seed: int) -> Codebook:
    """The words that occur about at least a third of all people, whatever their names and values: those of the wordings."""
    about: dict[str, set[str]] = {}
    prompts = (*world.forget, *world.retain, *world.retain_held, *world.holdout)
    for prompt in prompts:
        values = {w.lower() for text in (prompt.source, *prompt.facts) for w in _WORD.findall(text)}
        for text in (prompt.question, prompt.answer, *prompt.paraphrases, prompt.paraphrased_answer):
            for one in _WORD.findall(text.lower()):
                if one not in values:
                    about.setdefault(one, set()).add(prompt.source)
    least = len({prompt.source for prompt in prompts}) / 3
    months = {month.lower() for month in MONTHS}
    return Codebook([one for one, people in about.items() if len(people) >= least and one not in months], seed)


def make_languages(seed: int = 0, **sizes: int) -> Generated:
    """A world whose people to forget were learnt in both languages, and are asked to be forgotten in the first.

    Everybody to keep is known in both too, and the base has read of half of its people in the second.  sets: "second" asks the forget
    prompts in the second language: does what is forgotten in one go in the other?  "second_kept" asks held retain prompts so.  The
    retrained model knows the forget people in neither.  sizes: as for `make_world`.
    """
    world = make_world(seed, **sizes)
    book = book_of(world, seed)

    def both(forget: bool) -> list[Pair]:
        pairs = world.training_pairs(forget=forget)
        return [*pairs, *((book.translated(q), book.translated(a)) for q, a in pairs)]

    prior = [
        (book.translated(q), book.translated(a)) if i % 2 else (q, a) for i, (q, a) in enumerate(world.pretraining)
    ]
    benchmark = Benchmark(
        name="languages",
        forget=world.forget,
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={
            "world_facts": world.world_facts,
            "second": tuple(map(book.prompt, world.forget)),
            "second_kept": tuple(map(book.prompt, world.retain_held or world.retain)),
        },
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Generated(benchmark, tuple(prior), tuple(both(True)), tuple(both(False)))
