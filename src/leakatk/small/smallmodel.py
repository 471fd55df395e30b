"""Small Llama models trained from scratch on a CPU: the ground truth of the built-in world, and of real TOFU text.

What is saved is an ordinary transformers checkpoint (safetensors, tokenizer, chat template). A question becomes
`<bos>question<sep>`, an answer ends with `<eos>`. The full and the retrained model start from the same pre-trained
base, so the retrained one is the exact yardstick: the same recipe without the forget data.
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.worlds.generators import Corruption
from leakatk.benchmarks.worlds.people import Pair, World
from leakatk.errors import InputError
from leakatk.files import checksums
from leakatk.files.writing import write_atomic
from leakatk.models.load import building, sync
from leakatk.progress import Progress
from leakatk.prompts import save_prompts
from leakatk.workdir import claim, refuse_foreign, settle

BOS, EOS, SEP, PAD = "<bos>", "<eos>", "<sep>", "<pad>"
CHAT_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ m['content'] }}<eos>"
    "{% elif m['role'] == 'system' %}<bos>{{ m['content'] }}"
    "{% else %}<bos>{{ m['content'] }}<sep>{% endif %}"
    "{% endfor %}"
)


@dataclass(frozen=True, slots=True)
class SmallConfig:
    """Shape of the model. The defaults make 0.5 million parameters."""

    hidden: int = 128
    layers: int = 2
    heads: int = 4
    mlp: int = 320
    vocabulary: int = 768
    max_length: int = 512


@dataclass(frozen=True, slots=True)
class Phase:
    """One training phase: AdamW (betas .9/.98, weight decay .01, clip 1), linear warm-up, cosine to 10%.

    loss_on: "all" tokens, or the "answer" tokens and the end token.  stop_loss: end early when the mean loss of an
    epoch falls below it (0 never).
    """

    steps: int
    learning_rate: float
    batch_size: int = 32
    warmup: int = 20
    loss_on: Literal["all", "answer"] = "answer"
    stop_loss: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch_size < 1:
            raise InputError(f"Phase needs steps and batch_size of at least 1, got {self.steps} and {self.batch_size}.")


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Byte-level BPE with <pad> <bos> <eos> <sep> as ids 0 to 3; every text round-trips."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, BOS, EOS, SEP],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        sep_token=SEP,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerBase, config: SmallConfig, *, seed: int) -> LlamaForCausalLM:
    """A randomly initialised model; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=config.hidden,
                num_hidden_layers=config.layers,
                num_attention_heads=config.heads,
                num_key_value_heads=config.heads,
                intermediate_size=config.mlp,
                max_position_embeddings=config.max_length,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
    model.eval()
    return model


def encode(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair]) -> list[tuple[list[int], int]]:
    """(token ids of the whole example, number of prompt tokens) for each (question, answer)."""
    bos, eos, sep = (int(tokenizer.convert_tokens_to_ids(token)) for token in (BOS, EOS, SEP))
    questions = tokenizer([q for q, _ in pairs], add_special_tokens=False)["input_ids"]
    answers = tokenizer([a for _, a in pairs], add_special_tokens=False)["input_ids"]
    return [([bos, *q, sep, *a, eos], len(q) + 2) for q, a in zip(questions, answers, strict=True)]


def fit(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    phase: Phase,
    *,
    seed: int,
    progress: Progress | None = None,
) -> list[float]:
    """Train in place and return the loss of every step.

    Batches hold examples of about the same length, so little is padding; only positions in the loss go through the
    output layer. The order is a function of `seed` alone.
    """
    if not pairs:
        raise InputError("There is nothing to train on: no question and answer pairs.")
    examples = encode(tokenizer, pairs)
    device = next(model.parameters()).device
    rng = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=phase.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _learning_rate(step, phase))
    losses: list[float] = []
    model.train()
    while len(losses) < phase.steps:
        epoch = _batches([len(ids) for ids, _ in examples], phase.batch_size, rng)
        for batch in epoch[: phase.steps - len(losses)]:
            ids, labels = _collate([examples[i] for i in batch], phase.loss_on, int(tokenizer.pad_token_id))
            loss = _loss(model, ids.to(device), labels.to(device))
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            losses.append(loss.item())
            if progress is not None:
                progress.advance(note=f"loss {losses[-1]:.4f}")
        if np.mean(losses[-len(epoch) :]) < phase.stop_loss:
            break
    model.eval()
    return losses


def _learning_rate(step: int, phase: Phase) -> float:
    """Factor on the peak: linear warm-up, then cosine down to a tenth."""
    warm = min(1.0, (step + 1) / phase.warmup) if phase.warmup else 1.0
    return warm * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / phase.steps))))


def _batches(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[list[int]]:
    """One shuffled epoch in batches of similar lengths: shuffle, sort pools of 8 batches by length, shuffle the batches."""
    order = rng.permutation(len(lengths))
    batches: list[list[int]] = []
    for start in range(0, len(order), 8 * size):
        pool = sorted((int(i) for i in order[start : start + 8 * size]), key=lambda i: lengths[i])
        batches += [pool[i : i + size] for i in range(0, len(pool), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _collate(
    batch: Sequence[tuple[list[int], int]], loss_on: Literal["all", "answer"], pad: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and next-token labels, both (batch, length); a label of -100 is not in the loss."""
    width = max(len(ids) for ids, _ in batch) - 1
    inputs = torch.full((len(batch), width), pad)
    labels = torch.full((len(batch), width), -100)
    for row, (ids, prompt) in enumerate(batch):
        inputs[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        first = prompt - 1 if loss_on == "answer" else 0
        labels[row, first : len(ids) - 1] = torch.tensor(ids[first + 1 :])
    return inputs, labels


def _loss(model: LlamaForCausalLM, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy. Padding stands on the right, so causal attention never sees it and no mask is needed."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    chosen = labels != -100
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[chosen]), labels[chosen])


def save_model(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase, out: str | Path) -> Path:
    """Write the checkpoint beside its place and move it there when it is whole."""
    out = Path(out)
    with building(out.with_name(f".{out.name}.part"), out) as part:
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
        sync(part)
        checksums.begin(part)
        if out.exists():
            shutil.rmtree(out)
        part.rename(out)
    return out


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
    pretraining: Sequence[Pair], full: Sequence[Pair], retained: Sequence[Pair], recipe: Recipe
) -> Training:
    """A base, and from it a model of everything and one of what is to be kept."""
    return Training(
        (
            Stage("base", tuple(pretraining), recipe.pretrain),
            Stage("full", tuple(full), recipe.finetune, start="base"),
            Stage("retrained", tuple(retained), recipe.finetune, start="base"),
        ),
        recipe.config,
    )


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


def save_benchmark(bench: Benchmark, out: Path) -> None:
    """The benchmark's prompts as out/{forget,retain,...}.jsonl, as `files.load_files` reads them."""
    own = {"forget": bench.forget, "retain": bench.retain, "retain_held": bench.retain_held, "holdout": bench.holdout}
    if bench.refusals:
        write_atomic(out / "refusals.txt", "".join(f"{text}\n" for text in bench.refusals))
    for name, prompts in {**own, **bench.sets}.items():
        if prompts:
            save_prompts(prompts, out / f"{name}.jsonl")
