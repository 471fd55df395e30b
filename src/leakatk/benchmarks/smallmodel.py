"""Small Llama models trained from scratch on a CPU: the ground truth of the built-in world, and of real TOFU text.

What is saved is an ordinary transformers checkpoint (safetensors, tokenizer, chat template). A question becomes
`<bos>question<sep>`, an answer ends with `<eos>`. The full and the retrained model start from the same pre-trained
base, so the retrained one is the exact yardstick: the same recipe without the forget data.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from leakatk.benchmarks.base import Benchmark
from leakatk.benchmarks.generators import Corruption, Generated
from leakatk.benchmarks.world import Pair, World
from leakatk.data import save_prompts, write_atomic
from leakatk.errors import InputError
from leakatk.progress import Progress

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
    part = out.with_name(f".{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.parent.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(part)
    tokenizer.save_pretrained(part)
    if out.exists():
        shutil.rmtree(out)
    part.rename(out)
    return out


@dataclass(frozen=True, slots=True)
class TrainedModels:
    """Checkpoint directories: the pre-trained base, the full model, and the one trained without the forget data."""

    base: Path
    full: Path
    retrained: Path


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a pair of small models is made: one shape, a pre-training phase and a fine-tuning phase."""

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
    """Pre-train a base, then fine-tune it on `full` and on `retained`, the two at the same time on a CPU.

    Writes out/base, out/full and out/retrained.
    """
    out = Path(out)
    paths = TrainedModels(base=out / "base", full=out / "full", retrained=out / "retrained")
    tokenizer = train_tokenizer((text for pair in (*pretraining, *full) for text in pair), recipe.config.vocabulary)
    base = new_model(tokenizer, recipe.config, seed=seed).to(device)
    with Progress("pre-train", recipe.pretrain.steps, unit="steps", quiet=quiet) as progress:
        fit(base, tokenizer, pretraining, recipe.pretrain, seed=seed, progress=progress)
    save_model(base, tokenizer, paths.base)

    with Progress("fine-tune full and retrained", 2 * recipe.finetune.steps, unit="steps", quiet=quiet) as progress:

        def finetune(pairs: Sequence[Pair], place: Path) -> None:
            model = new_model(tokenizer, recipe.config, seed=seed).to(device)
            model.load_state_dict(base.state_dict())
            fit(model, tokenizer, pairs, recipe.finetune, seed=seed, progress=progress)
            save_model(model, tokenizer, place)

        jobs = [(full, paths.full), (retained, paths.retrained)]
        threads = torch.get_num_threads()
        parallel = device == "cpu" and threads > 1
        try:
            # Two models on one thread each beat one model on two threads: the tensors are small.
            torch.set_num_threads(threads // 2 if parallel else threads)
            with ThreadPoolExecutor(2 if parallel else 1) as pool:
                for job in [pool.submit(finetune, *job) for job in jobs]:
                    job.result()
        finally:
            torch.set_num_threads(threads)
    return paths


def train_world(
    world: World,
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe = WORLD_RECIPE,
    device: str = "cpu",
    quiet: bool = False,
) -> TrainedModels:
    """The world's full model and the one retrained without the forget people, from the same pre-trained base."""
    return train_pair(
        world.pretraining,
        world.training_pairs(forget=True),
        world.training_pairs(forget=False),
        out,
        recipe,
        seed=seed,
        device=device,
        quiet=quiet,
    )


def train_generated(
    made: Generated,
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe = WORLD_RECIPE,
    device: str = "cpu",
    quiet: bool = False,
) -> TrainedModels:
    """The full and the retrained model of a generated benchmark, and its prompts as out/{forget,retain,...}.jsonl."""
    paths = train_pair(made.pretraining, made.full, made.retained, out, recipe, seed=seed, device=device, quiet=quiet)
    _save_prompts(made.benchmark, Path(out))
    return paths


def train_corruption(
    made: Corruption,
    out: str | Path,
    *,
    seed: int = 0,
    recipe: Recipe = WORLD_RECIPE,
    device: str = "cpu",
    quiet: bool = False,
) -> TrainedModels:
    """RESTOR's models, one trained on from the other: out/base, out/clean, and out/corrupted as `full`.

    The clean model stands where a retrained one stands elsewhere: it is what unlearning the corruption should restore.
    """
    out = Path(out)
    paths = TrainedModels(base=out / "base", full=out / "corrupted", retrained=out / "clean")
    pairs = (*made.pretraining, *made.clean, *made.corrupting)
    tokenizer = train_tokenizer((text for pair in pairs for text in pair), recipe.config.vocabulary)
    model = new_model(tokenizer, recipe.config, seed=seed).to(device)
    phases = (
        (made.pretraining, recipe.pretrain, paths.base),
        (made.clean, recipe.finetune, paths.retrained),
        (made.corrupting, recipe.finetune, paths.full),
    )
    for part, phase, place in phases:
        with Progress(place.name, phase.steps, unit="steps", quiet=quiet) as progress:
            fit(model, tokenizer, part, phase, seed=seed, progress=progress)
        save_model(model, tokenizer, place)
    _save_prompts(made.benchmark, out)
    return paths


def _save_prompts(bench: Benchmark, out: Path) -> None:
    """The benchmark's prompts as out/{forget,retain,...}.jsonl, as `files.load_files` reads them."""
    own = {"forget": bench.forget, "retain": bench.retain, "retain_held": bench.retain_held, "holdout": bench.holdout}
    if bench.refusals:
        write_atomic(out / "refusals.txt", "".join(f"{text}\n" for text in bench.refusals))
    for name, prompts in {**own, **bench.sets}.items():
        if prompts:
            save_prompts(prompts, out / f"{name}.jsonl")
