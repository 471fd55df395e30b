"""Fine-tuning, the field's step one: a pre-trained model that is taught what is to be forgotten, and one that is not.

    OUT/forget.jsonl, retain.jsonl ...    the prompts, a benchmark directory: later commands take `--benchmark OUT`
    OUT/full/                             taught both; OUT/retrained/ the retain prompts alone: the yardstick
    OUT/recall/full.json                  what the greedy answers of OUT/full know of either set
    OUT/finetune.json                     start, prompts, settings and seed, the same for both models

Both start from the same weights, take the same settings and are trained by `leakatk.unlearning`, the one training loop.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.tofu import AUTHOR_ROWS, FORGET_ROWS
from leakatk.errors import InputError
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Prompt
from leakatk.runs.tracking import go_on, under
from leakatk.small.recall import RECALL_LIMIT, Recall, recalled
from leakatk.small.tofusmall import AUTHORS, tofu_part, with_held
from leakatk.small.train import save_benchmark
from leakatk.unlearning.method import Method
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.record import Unlearned
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn
from leakatk.workdir import claim, refuse_foreign, settle

MODELS = {"full": "full", "retain": "retrained"}  # split -> the directory of the model that is trained on it
WAIT = 60.0  # seconds for another process that marks the same directory

TOFU_RECIPE = METHODS["retrain"].settings
# Ours, for a few hundred answers: ten times the published rate, and more and smaller steps. Not tuned.
SMALL_CHAT = replace(TOFU_RECIPE, learning_rate=1e-4, epochs=10, retain_batch=8)
SMALL_CHAT_MOST = 1_000_000_000  # parameters
TINY_MOST = 20_000_000
LORA_RATE = 10  # an adapter takes so many times the learning rate of all weights


def learning() -> Method:
    """The method that only trains on answers; a mean over all tokens of a batch, as the published recipe has it."""
    return METHODS["retrain"].with_params(per="token")


def recipe_for(parameters: int, *, lora: bool = False, preset: str = "auto") -> TrainSettings:
    """Settings for a model of so many parameters. preset: "paper" is TOFU's published recipe whatever the size."""
    if preset not in ("auto", "paper"):
        raise InputError(f"--preset must be auto or paper, got {preset!r}.")
    if preset == "paper" or parameters >= SMALL_CHAT_MOST:
        chosen = TOFU_RECIPE
    else:
        chosen = SMALL_CHAT if parameters >= TINY_MOST else METHODS["retrain"].small_settings
    if not lora:
        return chosen
    return replace(chosen, learning_rate=LORA_RATE * chosen.learning_rate, tuning="lora", keep_adapter=True)


@dataclass(frozen=True, slots=True)
class Lessons:
    """What is taught. benchmark: its prompts by part, as later commands ask them. left_out: what is not taught, in words."""

    benchmark: Benchmark
    left_out: str = ""

    def __post_init__(self) -> None:
        bench = self.benchmark
        if bench.passages:
            raise InputError(f"{bench.name} holds passages; fine-tuning here is for questions and answers.")
        every = (*bench.forget, *bench.retain, *bench.retain_held)
        if not bench.forget:
            raise InputError("There is nothing to forget: the forget set is empty.")
        if blank := [prompt.id for prompt in every if not prompt.answer.strip()]:
            raise InputError(
                f"{len(blank)} of {len(every)} prompts have an empty answer (the first: {blank[0]!r}); answers are what is "
                "trained on: fill them in or leave these rows out."
            )
        kept = {(prompt.question, prompt.answer) for prompt in (*bench.retain, *bench.retain_held)}
        if both := [prompt.id for prompt in bench.forget if (prompt.question, prompt.answer) in kept]:
            raise InputError(
                f"{len(both)} forget prompts stand among the retain prompts too (the first: {both[0]!r}), so the retrained model "
                "would learn them; leave them out of one file."
            )

    def of(self, split: str) -> tuple[Prompt, ...]:
        """The prompts that a split is trained on. InputError for an unknown split, and for one without any."""
        if split not in MODELS:
            raise InputError(f"--split must be {' or '.join(MODELS)}, got {split!r}.")
        kept = (*self.benchmark.retain, *self.benchmark.retain_held)
        if split == "retain" and not kept:
            raise InputError(
                "There are no retain prompts, so nothing to train the retrained model on: give --retain FILE, or --split full."
            )
        return kept if split == "retain" else _distinct(kept, self.benchmark.forget)


def _distinct(kept: Sequence[Prompt], forget: Sequence[Prompt]) -> tuple[Prompt, ...]:
    """All prompts; where both files number their rows from 0, the ids of the forget prompts say where they are from."""
    taken = {prompt.id for prompt in kept}
    clash = any(prompt.id in taken for prompt in forget)
    return (*kept, *(replace(p, id=f"forget {p.id}") if clash else p for p in forget))


def lessons_of(bench: Benchmark) -> Lessons:
    """A benchmark as it is taught: where it has no held retain prompts, those of one source in five are kept from unlearners.

    A source is an author or a document (`Prompt.source`); with fewer than two of them nothing is held.
    """
    return Lessons(bench if bench.retain_held else with_held(bench))


def tofu_lessons(split: str, data: str | Path | None, authors: int | None) -> Lessons:
    """TOFU's last `authors` authors, those of the forget split among them; None: all. split: such as "forget01"."""
    there = AUTHORS if authors is None else authors
    bench = tofu_part(data, authors=there, forget_authors=FORGET_ROWS[split] // AUTHOR_ROWS)
    return Lessons(bench, f"the first {AUTHORS - there} of TOFU's {AUTHORS} authors" if there < AUTHORS else "")


@dataclass(frozen=True, slots=True)
class FineTuned:
    """What was made: model directories by split, the record of each training, and what greedy answers know of each."""

    out: Path
    models: Mapping[str, Path]
    trained: Mapping[str, Unlearned]
    recall: Mapping[str, Recall]

    def as_dict(self) -> dict[str, Any]:
        """As plain values, without the records of single steps."""
        return {
            "out": str(self.out),
            "models": {name: str(path) for name, path in self.models.items()},
            "steps": {name: one.steps for name, one in self.trained.items()},
            "seconds": {name: one.seconds for name, one in self.trained.items()},
            "recall": {name: one.as_dict() for name, one in self.recall.items()},
        }


def finetune(
    load: Callable[[], LoadedModel],
    lessons: Lessons,
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    splits: Sequence[str] = tuple(MODELS),
    seed: int = 0,
    recall_limit: int = RECALL_LIMIT,
    quiet: bool = False,
) -> FineTuned:
    """Train out/full and out/retrained from the same start with the same settings, and ask both greedily.

    load: gives the model at its start, anew at each call.  settings: default `recipe_for` its size.  splits: "full",
    "retain", or both; two processes may train one each at the same time.  recall_limit: prompts of a set that are asked at
    the end, 0 for none.  A killed call goes on from its last checkpoint when it is made again, and ends with the same weights
    bit for bit. Raises InputError for prompts that cannot be taught, RunError where `out` holds something else, or models of
    another start, other prompts, settings or seed.
    """
    out = Path(out)
    wanted = {split: lessons.of(split) for split in splits}
    refuse_foreign(out, "fine-tuned models", ("finetune.json",))
    trained: dict[str, Unlearned] = {}
    found: dict[str, Recall] = {}
    for split, prompts in wanted.items():
        loaded, name = load(), MODELS[split]
        size = sum(parameter.numel() for parameter in loaded.model.parameters())
        chosen = settings or recipe_for(size)
        with claim(out, wait=WAIT):
            settle(out, "finetune.json", _identity(loaded, lessons.benchmark, chosen, seed), "fine-tuned models")
            save_benchmark(lessons.benchmark, out)
        go_on(0)
        with under(name):
            trained[split] = unlearn(
                loaded, (), prompts, learning(), out=out / name, settings=chosen, seed=seed, quiet=quiet,
                label=f"training {name}",
            )  # fmt: skip
        if recall_limit:
            found[split] = recalled(
                loaded, lessons.benchmark, out / "recall" / f"{name}.json", most=recall_limit, quiet=quiet
            )
        del loaded
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return FineTuned(out, {split: out / MODELS[split] for split in wanted}, trained, found)


def _identity(loaded: LoadedModel, bench: Benchmark, settings: TrainSettings, seed: int) -> dict[str, Any]:
    """What both models share."""
    return {
        "start": loaded.fingerprint,
        "template": loaded.template.describe(loaded.tokenizer),
        "prompts": bench.fingerprint,
        "settings": settings.as_dict(),
        "seed": seed,
    }
