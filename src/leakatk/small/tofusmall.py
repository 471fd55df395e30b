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
AUTHORS = FULL_ROWS // AUTHOR_ROWS
STEPS_AN_AUTHOR = 20  # what the recipe's 20 authors get; more authors get as many each
HELD_SHARE = 5  # one retain author in five is kept from the unlearner


def tofu_small(data: str | Path | None, *, authors: int = 20, forget_authors: int = 2) -> Generated:
    """What the full and the retain-only model of the last `authors` authors are trained on.

    data: directory with TOFU's files, or None for the hub. With `recipe_for(authors)` 20 authors take about six minutes
    on two cores. retain_held authors are known to both models and must not be shown to an unlearning method; holdout
    authors are known to neither.
    """
    bench, pretraining = _last_authors(data, authors, forget_authors)
    kept = bench.retain
    small = replace(with_held(bench), sets={})  # of the sets it knows nothing
    return Generated(small, _pairs(pretraining or kept), _pairs((*kept, *bench.forget)), _pairs(kept))


def tofu_part(data: str | Path | None, *, authors: int = AUTHORS, forget_authors: int = 2) -> Benchmark:
    """TOFU with its last `authors` authors alone, for a pre-trained model: some retain authors held from unlearners, and the
    sets of what such a model knows already ("real_authors", "world_facts").

    Arguments and errors as of `tofu_small`.
    """
    bench = with_held(_last_authors(data, authors, forget_authors)[0])
    return replace(bench, sets={name: prompts for name, prompts in bench.sets.items() if name != "retain"})


def with_held(bench: Benchmark) -> Benchmark:
    """The same with the retain prompts of one source in five held from unlearners; with fewer than two sources none is."""
    names = sorted({prompt.source for prompt in bench.retain if prompt.source})
    held = set(names[::HELD_SHARE] if len(names) > 1 else ())
    return replace(
        bench,
        retain=tuple(p for p in bench.retain if p.source not in held),
        retain_held=tuple(p for p in bench.retain if p.source in held),
    )


def _last_authors(data: str | Path | None, authors: int, forget_authors: int) -> tuple[Benchmark, tuple[Prompt, ...]]:
    """TOFU with its last authors alone, and the retain prompts of the authors before them."""
    splits = {rows // AUTHOR_ROWS: split for split, rows in FORGET_ROWS.items()}
    if forget_authors not in splits:
        raise InputError(f"forget_authors must be {', '.join(map(str, splits))} (TOFU's splits), got {forget_authors}.")
    if not forget_authors < authors <= AUTHORS:
        raise InputError(
            f"authors must be above forget_authors ({forget_authors}) and at most {AUTHORS}, got {authors}."
        )
    bench = load_tofu(Options(data=Path(data) if data else None), split=splits[forget_authors])
    first = FULL_ROWS - authors * AUTHOR_ROWS
    return replace(bench, retain=bench.retain[first:]), bench.retain[:first]


def recipe_for(authors: int) -> Recipe:
    """TOFU_RECIPE, with the fine-tuning steps growing with the authors to memorise."""
    steps = max(TOFU_RECIPE.finetune.steps, STEPS_AN_AUTHOR * authors)
    return replace(TOFU_RECIPE, finetune=replace(TOFU_RECIPE.finetune, steps=steps))


def _pairs(prompts: Sequence[Prompt]) -> tuple[Pair, ...]:
    return tuple((prompt.question, prompt.answer) for prompt in prompts)
