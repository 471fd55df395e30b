"""Small models on real TOFU text, trained from scratch: `leakatk train-small --benchmark tofu`.

The last authors of `full` are memorised as questions and answers; all rows before them are pre-training text. The last
`forget_authors` of them are the forget set: 2 give exactly forget01, 10 forget05, 20 forget10.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from leakatk.benchmarks.base import Benchmark, Options
from leakatk.benchmarks.tofu import AUTHOR_ROWS, FORGET_ROWS, FULL_ROWS, load_tofu
from leakatk.benchmarks.worlds.generators import Generated
from leakatk.benchmarks.worlds.people import Pair
from leakatk.errors import InputError
from leakatk.prompts import Prompt
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Recipe

TOFU_RECIPE = Recipe(
    config=SmallConfig(layers=4, vocabulary=2048),
    pretrain=Phase(steps=500, learning_rate=3e-3, warmup=30, loss_on="all"),
    finetune=Phase(steps=400, learning_rate=2e-3, warmup=30),
)
STEPS_AN_AUTHOR = 20  # what the recipe's 20 authors get; more authors get as many each
HELD_SHARE = 5  # one retain author in five is kept from the unlearner


def tofu_small(data: str | Path | None, *, authors: int = 20, forget_authors: int = 2) -> Generated:
    """What the full and the retain-only model of the last `authors` authors are trained on.

    data: directory with TOFU's files, or None for the hub. With `recipe_for(authors)` 20 authors take about six minutes
    on two cores. retain_held authors are known to both models and must not be shown to an unlearning method; holdout
    authors are known to neither.
    """
    splits = {rows // AUTHOR_ROWS: split for split, rows in FORGET_ROWS.items()}
    if forget_authors not in splits:
        raise InputError(f"forget_authors must be {', '.join(map(str, splits))} (TOFU's splits), got {forget_authors}.")
    if not forget_authors < authors <= FULL_ROWS // AUTHOR_ROWS:
        raise InputError(
            f"authors must be above forget_authors ({forget_authors}) and at most {FULL_ROWS // AUTHOR_ROWS}, got {authors}."
        )
    bench = load_tofu(Options(data=Path(data) if data else None), split=splits[forget_authors])
    first = FULL_ROWS - authors * AUTHOR_ROWS
    pretraining, kept = bench.retain[:first], bench.retain[first:]
    names = sorted({prompt.source for prompt in kept})
    held = set(names[::HELD_SHARE] if len(names) > 1 else ())
    small = Benchmark(
        name=bench.name,
        forget=bench.forget,
        retain=tuple(p for p in kept if p.source not in held),
        retain_held=tuple(p for p in kept if p.source in held),
        holdout=bench.holdout,
        refusals=bench.refusals,
        origin=bench.origin,
    )
    return Generated(small, _pairs(pretraining or kept), _pairs((*kept, *bench.forget)), _pairs(kept))


def recipe_for(authors: int) -> Recipe:
    """TOFU_RECIPE, with the fine-tuning steps growing with the authors to memorise."""
    steps = max(TOFU_RECIPE.finetune.steps, STEPS_AN_AUTHOR * authors)
    return replace(TOFU_RECIPE, finetune=replace(TOFU_RECIPE.finetune, steps=steps))


def _pairs(prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    return tuple((prompt.question, prompt.answer) for prompt in prompts)
