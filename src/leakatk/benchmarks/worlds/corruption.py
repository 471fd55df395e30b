"""Corruption: wrong facts trained over right ones; unlearning them should bring the right ones back (after RESTOR, 2024)."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.people import Pair, World, make_world
from leakatk.errors import InputError
from leakatk.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Corruption:
    """RESTOR's three models: train `clean`, go on with `corrupting`, then unlearn `benchmark.forget`.

    benchmark.forget: the corrupted statements, to be unlearned.  sets["original"]: the same questions with the true
    answer; its perturbed_answers start with the corrupted one. Restored means that these are answered again, as by the
    clean model, which is the yardstick.
    """

    benchmark: Benchmark
    pretraining: tuple[Pair, ...]
    clean: tuple[Pair, ...]
    corrupting: tuple[Pair, ...]


def make_corruption(seed: int = 0, *, unrelated: int = 1, **sizes: int) -> Corruption:
    """A world whose forget people are first learned right, then wrong.

    unrelated: true statements about other people before and after each wrong one, as RESTOR's documents have.  sizes: as for
    `make_world`. Each corrupting document is a pair with an empty question: it is trained as plain text.
    """
    world: World = make_world(seed, **sizes)
    if not 0 <= 2 * unrelated <= len(world.retain):
        raise InputError(f"unrelated must be 0 to {len(world.retain) // 2} in this world, got {unrelated}.")
    rng = Random(f"leakatk corruption {seed}")
    wrong, original, documents = [], [], []
    for prompt in world.forget:
        lie = prompt.perturbed_answers[0]
        wrong.append(
            Prompt(
                id=f"{prompt.id}-corrupted",
                question=prompt.question,
                answer=lie,
                paraphrases=prompt.paraphrases,
                perturbed_answers=(prompt.answer, *prompt.perturbed_answers[1:]),
                source=prompt.source,
            )
        )
        original.append(prompt)
        around = [p.answer for p in rng.sample(world.retain, 2 * unrelated)]
        documents.append(" ".join([*around[:unrelated], lie, *around[unrelated:]]))
    asked = [
        (question, p.answer)
        for p in wrong
        for question in (p.question, *p.paraphrases)[: world.config.trained_wordings]
    ]
    benchmark = Benchmark(
        name="corruption",
        forget=tuple(wrong),
        retain=world.retain,
        retain_held=world.retain_held,
        holdout=world.holdout,
        sets={"original": tuple(original)},
        texts={"documents": tuple(documents)},
        refusals=world.refusals,
        origin=f"generated, seed {seed}",
    )
    return Corruption(
        benchmark,
        world.pretraining,
        tuple(world.training_pairs(forget=True)),
        (*asked, *(("", document) for document in documents)),
    )
