"""Training beside transformers' own Trainer: the same model, rows, batches and precision, each in a process of its own.

    python performance/training.py MODEL                         bf16 and fp32, two turns each
    python performance/training.py MODEL --dtype bf16 --turns 3 --out training.json
    python performance/training.py MODEL --methods npo           ours alone: 16 forget and 16 retain answers a step

Both take the likelihood of the answers alone, by AdamW over float32 weights; bf16 is autocast in both. A row's tokens are those of
its question and answer, padding left out. Rates are tokens by processor seconds and by the clock, without the first step; on
a busy machine read the former. The peak is the whole process's, loading included. Prints a table and writes json (--out).
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS = [
    "the",
    "a",
    "river",
    "author",
    "wrote",
    "town",
    "of",
    "book",
    "born",
    "in",
    "famous",
    "novel",
    "award",
    "city",
    "family",
    "engineer",
    "mother",
    "father",
    "genre",
    "that",
    "her",
    "his",
    "was",
    "is",
    "known",
    "for",
    "many",
    "years",
    "about",
    "historical",
    "fiction",
    "works",
    "often",
    "their",
    "first",
    "published",
    "story",
    "set",
    "where",
    "who",
    "received",
    "literature",
]
LEARNING_RATE = 1e-5


def texts(count: int, kind: str) -> list[tuple[str, str]]:
    """Made-up questions of 8 to 22 words and answers of 12 to 60, the lengths of TOFU's."""
    rng = random.Random(kind)
    return [
        (
            " ".join(rng.choices(WORDS, k=rng.randint(8, 22))) + "?",
            " ".join(rng.choices(WORDS, k=rng.randint(12, 60))) + ".",
        )
        for _ in range(count)
    ]


def report(engine: str, seconds: list[tuple[float, float]], tokens: list[int], losses: list[float]) -> dict[str, Any]:
    """What one process measured; seconds: by the processor and by the clock, of each step."""
    cpu, wall = (sum(each[i] for each in seconds[1:]) for i in (0, 1))
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "engine": engine,
        "tokens/CPU s": sum(tokens[1:]) / cpu,
        "tokens/s": sum(tokens[1:]) / wall,
        "CPU s/step": cpu / (len(seconds) - 1),
        "peak GB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9,
        "tokens/step": sum(tokens) / len(tokens),
        "losses": losses,
    }


def loaded_and_streams(args: argparse.Namespace) -> tuple[Any, Any]:
    from leakatk.models.load import load_model
    from leakatk.prompts import Prompt
    from leakatk.unlearning.streams import Streams

    loaded = load_model(args.model, device="cpu", dtype="fp32")
    rows = {
        kind: [Prompt(f"{kind}{i}", q, a) for i, (q, a) in enumerate(texts(args.rows, kind))]
        for kind in ("forget", "retain")
    }
    return loaded, Streams(rows["forget"], rows["retain"], loaded.tokenizer, loaded.template, seed=0)


def ours(args: argparse.Namespace) -> dict[str, Any]:
    from leakatk.unlearning.loop import Trainer
    from leakatk.unlearning.methods import METHODS
    from leakatk.unlearning.settings import TrainSettings

    loaded, streams = loaded_and_streams(args)
    settings = TrainSettings(
        learning_rate=LEARNING_RATE,
        max_steps=args.steps,
        forget_batch=args.batch,
        retain_batch=args.batch,
        dtype=args.dtype,
    )
    method = METHODS[args.engine.removeprefix("ours: ")]
    trainer = Trainer(loaded, streams, method.trains[0], method.params, settings, 0)
    trainer.prepare()
    seconds, losses = [], []
    for step in range(args.steps):
        cpu, wall = time.process_time(), time.perf_counter()
        losses.append(trainer.step(step)["retain"])
        seconds.append((time.process_time() - cpu, time.perf_counter() - wall))
    return report(args.engine, seconds, [trainer.tokens(step) for step in range(args.steps)], losses)


def theirs(args: argparse.Namespace) -> dict[str, Any]:
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from leakatk.unlearning.streams import drawn_rows

    loaded, streams = loaded_and_streams(args)
    items = streams.items("retain")
    drawn = drawn_rows(len(items), args.steps * args.batch, 0, 1)  # as our loop draws them with seed 0
    data = [{"input_ids": [*i.prompt, *i.answer], "labels": [-100] * len(i.prompt) + list(i.answer)} for i in items]

    def collate(rows: list[dict[str, list[int]]]) -> dict[str, Any]:
        width = max(len(row["input_ids"]) for row in rows)
        pad = {"input_ids": 0, "labels": -100, "attention_mask": 0}
        full = [{**row, "attention_mask": [1] * len(row["input_ids"])} for row in rows]
        return {k: torch.tensor([row[k] + [v] * (width - len(row[k])) for row in full]) for k, v in pad.items()}

    class InOrder(Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.begun, self.seconds = (0.0, 0.0), []

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.begun = (time.process_time(), time.perf_counter())

        def on_step_end(self, *_: Any, **__: Any) -> None:
            self.seconds.append((time.process_time() - self.begun[0], time.perf_counter() - self.begun[1]))

    clock = Clock()
    with tempfile.TemporaryDirectory() as place:
        trainer = InOrder(
            model=loaded.model,
            args=TrainingArguments(
                output_dir=place, max_steps=args.steps, per_device_train_batch_size=args.batch, learning_rate=LEARNING_RATE,
                lr_scheduler_type="constant", optim="adamw_torch", weight_decay=0.01, bf16=args.dtype == "bf16", use_cpu=True,
                save_strategy="no", logging_steps=1, report_to=[], disable_tqdm=True, dataloader_pin_memory=False,
            ),
            train_dataset=[data[row] for row in drawn], data_collator=collate, callbacks=[clock],
        )  # fmt: skip
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    parts = [drawn[i : i + args.batch] for i in range(0, len(drawn), args.batch)]
    return report("Trainer", clock.seconds, [sum(len(items[row]) for row in part) for part in parts], losses)


def run(args: argparse.Namespace, engine: str, dtype: str) -> dict[str, Any]:
    """One measurement in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "found.json"
        command = [sys.executable, __file__, args.model, "--engine", engine, "--dtype", dtype, "--out", str(out)]
        command += ["--steps", str(args.steps), "--batch", str(args.batch), "--rows", str(args.rows)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found: dict[str, Any] = json.loads(out.read_text())
    return found


def show(rows: list[dict[str, Any]]) -> None:
    print(
        "| precision | engine | tokens/CPU s | tokens/s | CPU s/step | peak GB | first losses |\n|---|---|---|---|---|---|---|"
    )
    for row in rows:
        losses = " ".join(f"{loss:.3f}" for loss in row["losses"][:2])
        print(
            f"| {row['dtype']} | {row['engine']} | {row['tokens/CPU s']:.0f} | {row['tokens/s']:.0f} | {row['CPU s/step']:.1f} "
            f"| {row['peak GB']:.2f} | {losses} |"
        )
    for dtype in dict.fromkeys(row["dtype"] for row in rows):
        best = {
            name: [row["tokens/CPU s"] for row in rows if (row["engine"], row["dtype"]) == (name, dtype)]
            for name in ("ours: retrain", "Trainer")
        }
        if all(best.values()):
            ratios = [a / b for a, b in zip(*best.values(), strict=True)]
            print(
                f"{dtype}: ours is {' and '.join(f'{ratio:.2f}' for ratio in ratios)} times the Trainer, a turn each."
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="a directory or a hub id")
    parser.add_argument("--dtype", default="bf16,fp32")
    parser.add_argument("--methods", default="retrain", help="methods of ours; retrain is what the Trainer does")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--steps", type=int, default=4, help="with the first, which is not counted")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--engine", default="", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps must be at least 2: the first is not counted")
    if args.engine:
        args.out.write_text(json.dumps(theirs(args) if args.engine == "Trainer" else ours(args)))
        return
    methods = args.methods.split(",")
    engines = [f"ours: {name}" for name in methods] + (["Trainer"] if "retrain" in methods else [])
    rows: list[dict[str, Any]] = []
    for turn in range(args.turns):
        for dtype in args.dtype.split(","):
            for engine in engines if turn % 2 == 0 else engines[::-1]:
                rows.append({"turn": turn + 1, "dtype": dtype, **run(args, engine, dtype)})
                if args.out:
                    args.out.write_text(json.dumps(rows, indent=1))
    show(rows)


if __name__ == "__main__":
    main()
