"""Small Llama models trained from scratch on a CPU: the ground truth of the built-in world, and of real TOFU text.

What is saved is an ordinary transformers checkpoint (safetensors, tokenizer, chat template). A question becomes
`<bos>question<sep>`, an answer ends with `<eos>`. The full and the retrained model start from the same pre-trained
base, so the retrained one is the exact yardstick: the same recipe without the forget data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import PreTrainedTokenizerFast

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generators import Corruption
from leakatk.benchmarks.worlds.people import Pair, World
from leakatk.files import checksums
from leakatk.files.writing import write_atomic
from leakatk.progress import Progress
from leakatk.prompts import save_prompts
from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
from leakatk.small.fit import Phase, fit
from leakatk.workdir import claim, refuse_foreign, settle


@dataclass(frozen=True, slots=True)
class Recipe:
    """How small models are made: one shape, a pre-training phase and a fine-tuning phase."""

    config: SmallConfig
    pretrain: Phase
    finetune: Phase


WORLD_RECIPE = Recipe(
    config=SmallConfig(),
    pretrain=Phase(steps=250, learning_rate=4e-3, loss_on="all"),
    finetune=Phase(steps=700, learning_rate=2e-3, stop_loss=0.002),
)

# For real questions and answers, a few hundred of them; many more need more steps to be memorised.
TEXT_RECIPE = Recipe(
    config=SmallConfig(layers=4, vocabulary=2048),
    pretrain=Phase(steps=150, learning_rate=3e-3, warmup=30, loss_on="all"),
    finetune=Phase(steps=500, learning_rate=2e-3, warmup=30, stop_loss=0.005),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """One model: trained on `pairs`, from the weights of the stage named `start`, or from scratch."""

    name: str
    pairs: tuple[Pair, ...]
    phase: Phase
    start: str = ""


@dataclass(frozen=True, slots=True)
class Training:
    """Stages of one tokenizer and shape, a stage after the one it starts from.

    full, retrained: the stage that knows what is to be forgotten, and the yardstick that does not.
    """

    stages: tuple[Stage, ...]
    config: SmallConfig
    full: str = "full"
    retrained: str = "retrained"

    def tokenizer(self) -> PreTrainedTokenizerFast:
        """Learned from what the full model reads."""
        stages = {stage.name: stage for stage in self.stages}
        read, name = list[Stage](), self.full
        while name:
            read.insert(0, stages[name])
            name = read[0].start
        texts = (text for stage in read for pair in stage.pairs for text in pair)
        return train_tokenizer(texts, self.config.vocabulary)


@dataclass(frozen=True, slots=True)
class TrainedModels:
    """Checkpoint directories: the pre-trained base, the full model, and the one trained without the forget data."""

    base: Path
    full: Path
    retrained: Path


def pair_training(
    pretraining: Sequence[Pair],
    full: Sequence[Pair],
    retained: Sequence[Pair],
    recipe: Recipe,
    *,
    pretraining_retained: Sequence[Pair] = (),
) -> Training:
    """A base, and from it a model of everything and one of what is to be kept.

    pretraining_retained: of a base of its own for the latter, where the first has read what is to be forgotten.
    """
    own = (Stage("base-retained", tuple(pretraining_retained), recipe.pretrain),) if pretraining_retained else ()
    return Training(
        (
            Stage("base", tuple(pretraining), recipe.pretrain),
            *own,
            Stage("full", tuple(full), recipe.finetune, start="base"),
            Stage("retrained", tuple(retained), recipe.finetune, start="base-retained" if own else "base"),
        ),
        recipe.config,
    )


def staged_training(
    pretraining: Sequence[Pair], full: Sequence[Sequence[Pair]], retained: Sequence[Sequence[Pair]], recipe: Recipe
) -> Training:
    """A base, and from it both models, each trained stage after stage: full-1, full-2 ... full.

    The steps of fine-tuning are shared out among the stages of a model.
    """
    made = [Stage("base", tuple(pretraining), recipe.pretrain)]
    for name, stages in (("full", full), ("retrained", retained)):
        start, steps = "base", max(1, recipe.finetune.steps // len(stages))
        for number, pairs in enumerate(stages, 1):
            own = name if number == len(stages) else f"{name}-{number}"
            made.append(Stage(own, tuple(pairs), replace(recipe.finetune, steps=steps, stop_loss=0.0), start=start))
            start = own
    return Training(tuple(made), recipe.config)


def corruption_training(made: Corruption, recipe: Recipe = WORLD_RECIPE) -> Training:
    """RESTOR's models, one trained on from the other: base, clean, and corrupted as `full`.

    The clean model stands where a retrained one stands elsewhere: it is what unlearning the corruption should restore.
    """
    return Training(
        (
            Stage("base", made.pretraining, recipe.pretrain),
            Stage("clean", made.clean, recipe.finetune, start="base"),
            Stage("corrupted", made.corrupting, recipe.finetune, start="clean"),
        ),
        recipe.config,
        full="corrupted",
        retrained="clean",
    )


def train(
    training: Training, out: str | Path, *, seed: int = 0, device: str = "cpu", quiet: bool = False
) -> TrainedModels:
    """Train every stage into out/NAME; stages with the same start are trained at the same time on a CPU.

    A stage that an earlier, interrupted call finished is not trained again. RunError when `out` holds models of another
    training, or another process trains there.
    """
    out = Path(out)
    refuse_foreign(out, "small models", ("training.json",))
    with claim(out):
        return _train(training, out, seed, device, quiet)


def _train(training: Training, out: Path, seed: int, device: str, quiet: bool) -> TrainedModels:
    done = _finished(training, seed, out)
    tokenizer = training.tokenizer()
    for start, group in groupby(training.stages, key=lambda stage: stage.start):
        todo = [stage for stage in group if stage.name not in done]
        if not todo:
            continue
        steps = sum(stage.phase.steps for stage in todo)
        with Progress(
            f"training {' and '.join(stage.name for stage in todo)}", steps, unit="steps", quiet=quiet
        ) as bar:

            def fitted(stage: Stage, start: str = start, bar: Progress = bar) -> None:
                model = new_model(tokenizer, training.config, seed=seed)
                if start:
                    weights = out / start / "model.safetensors"
                    checksums.verify(weights)
                    model.load_state_dict(load_file(weights), strict=False)  # tied weights
                model.to(device)
                fit(model, tokenizer, stage.pairs, stage.phase, seed=seed, progress=bar)
                save_model(model, tokenizer, out / stage.name)

            threads = torch.get_num_threads()
            parallel = device == "cpu" and threads > 1 and len(todo) > 1
            try:
                # Two models on one thread each beat one model on two threads: the tensors are small.
                torch.set_num_threads(threads // 2 if parallel else threads)
                with ThreadPoolExecutor(2 if parallel else 1) as pool:
                    jobs = [pool.submit(fitted, stage) for stage in todo]
                    try:
                        for job in jobs:
                            job.result()
                    except BaseException:  # Ctrl-C, or the other stage cannot be written
                        bar.stop()
                        raise
            finally:
                torch.set_num_threads(threads)
    return TrainedModels(out / training.stages[0].name, out / training.full, out / training.retrained)


def _finished(training: Training, seed: int, out: Path) -> set[str]:
    """The stages that `out` already holds; it is marked as this training's."""
    identity = {"sha256": hashlib.sha256(repr((training, seed)).encode()).hexdigest()}
    there = settle(out, "training.json", identity, "small models", differs="other prompts, sizes or seed")
    return {stage.name for stage in training.stages if there and _whole(out / stage.name)}


def _whole(model: Path) -> bool:
    """Whether a model was saved here and its weights are still there."""
    return (model / "config.json").exists() and not checksums.lost(model)


def train_pair(
    pretraining: Sequence[Pair],
    full: Sequence[Pair],
    retained: Sequence[Pair],
    out: str | Path,
    recipe: Recipe,
    *,
    seed: int = 0,
    device: str = "cpu",
    quiet: bool = False,
) -> TrainedModels:
    """Pre-train out/base, then fine-tune it on `full` into out/full and on `retained` into out/retrained."""
    return train(pair_training(pretraining, full, retained, recipe), out, seed=seed, device=device, quiet=quiet)


def train_world(
    world: World, out: str | Path, *, seed: int = 0, recipe: Recipe = WORLD_RECIPE, quiet: bool = False
) -> TrainedModels:
    """The world's full model and the one retrained without the forget people, from the same pre-trained base."""
    full, retained = (world.training_pairs(forget=forget) for forget in (True, False))
    return train_pair(world.pretraining, full, retained, out, recipe, seed=seed, quiet=quiet)


def save_benchmark(bench: Benchmark, out: Path) -> list[str]:
    """The benchmark's prompts as out/{forget,retain,...}.jsonl, as `files.load_files` reads them.

    Returns the names of the sets that are not there: a file holds questions, not turns before them.
    """
    own = {"forget": bench.forget, "retain": bench.retain, "retain_held": bench.retain_held, "holdout": bench.holdout}
    if bench.refusals:
        write_atomic(out / "refusals.txt", "".join(f"{text}\n" for text in bench.refusals))
    in_turns = [name for name, prompts in bench.sets.items() if any(prompt.asked for prompt in prompts)]
    for name, prompts in {**own, **bench.sets}.items():
        if prompts and name not in in_turns:
            save_prompts(prompts, out / f"{name}.jsonl")
    return in_turns
