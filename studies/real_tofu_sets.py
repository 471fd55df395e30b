"""Prompts of the study of TOFU, by the part they play: what is reported chose no setting, and what chose one is not reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from leakatk.benchmarks.base import Benchmark, Options
from leakatk.benchmarks.tofu import load_tofu
from leakatk.errors import InputError
from leakatk.prompts import Prompt, Query
from leakatk.small.finetune import tofu_lessons

STAND_IN, HELD_TUNING = 2, 1  # authors


@dataclass(frozen=True)
class Sets:
    """bench: what `full` is taught, as `tofu_lessons` gives it.  unseen: of further authors that no model is taught."""

    bench: Benchmark
    unseen: tuple[Prompt, ...]

    def __post_init__(self) -> None:
        if len(authors(self.bench.retain)) <= STAND_IN or len(authors(self.bench.retain_held)) <= HELD_TUNING:
            raise InputError(
                f"Settings are chosen on {STAND_IN} of the retain authors and {HELD_TUNING} of those held from the unlearner; "
                "take more authors, so that others are left to report."
            )

    @property
    def forget(self) -> list[Prompt]:
        return list(self.bench.forget)

    @property
    def shown(self) -> list[Prompt]:
        """What the unlearner may train on to keep it."""
        return list(self.bench.retain)

    @property
    def stand_in(self) -> list[Prompt]:
        """In place of the forget set, where settings are chosen."""
        return by(self.bench.retain, authors(self.bench.retain)[:STAND_IN])

    @property
    def others(self) -> list[Prompt]:
        """What is shown besides the stand-in."""
        return by(self.bench.retain, authors(self.bench.retain)[STAND_IN:])

    @property
    def held_tuning(self) -> list[Prompt]:
        """Held from the unlearner, for the choice of settings."""
        return by(self.bench.retain_held, authors(self.bench.retain_held)[:HELD_TUNING])

    @property
    def held(self) -> list[Prompt]:
        """Held from the unlearner, and reported."""
        return by(self.bench.retain_held, authors(self.bench.retain_held)[HELD_TUNING:])


def load_sets(data: Path | None, *, count: int, unseen: int) -> Sets:
    """TOFU's last `count` authors with forget01 among them. unseen: questions about authors of none of its models."""
    bench = tofu_lessons("forget01", data, count).benchmark
    further = load_tofu(Options(data=data), split="forget10").holdout
    mine = {(p.question, p.answer) for p in bench.holdout}
    left = [p for p in further if (p.question, p.answer) not in mine]
    return Sets(bench, tuple(replace(p, id=f"unseen {p.id}") for p in left[:unseen]))


def authors(prompts: Sequence[Prompt]) -> list[str]:
    return sorted({p.source for p in prompts})


def by(prompts: Sequence[Prompt], names: Sequence[str]) -> list[Prompt]:
    return [p for p in prompts if p.source in set(names)]


def spaced(prompts: Sequence[Prompt], most: int) -> list[Prompt]:
    """At most so many, evenly spaced."""
    return [prompts[i * len(prompts) // most] for i in range(most)] if len(prompts) > most else list(prompts)


def in_other_words(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Those with a published paraphrase, asked in it; the answer is scored as for the question itself."""
    return [
        replace(p, id=f"{p.id}/paraphrased", asked=Query(p.paraphrases[0]), paraphrases=())
        for p in prompts
        if p.paraphrases
    ]
