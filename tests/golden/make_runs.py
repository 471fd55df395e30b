"""Makes the directories that later versions must still open: `python -m tests.golden.make_runs PLACE`, once a version.

Run it with the package of the version in question (its `src` in PYTHONPATH) and this file beside the tests of today. All
paths are relative to PLACE, so what is stored names no machine. The models are tiny and know three answers by heart.
"""

from __future__ import annotations

import os
import platform
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.servers import FaultyServer
from tests.tiny import PROMPTS

OTHERS = [
    replace(prompt, id=f"r{i}", question=text, answer=answer, facts=(fact,), source=name)
    for i, (prompt, name, text, answer, fact) in enumerate(
        [
            (PROMPTS[0], "Di", "Where was Di born?", "Di was born in Mira.", "Mira"),
            (PROMPTS[1], "Ed", "Who taught Ed?", "Ed was taught by Zorvik Glass.", "Zorvik Glass"),
        ]
    )
]


def smaller_model(place: Path, steps: int) -> Path:
    """A model of 13,000 parameters that learned the forget and retain answers for `steps` steps."""
    from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer
    from leakatk.small.fit import Phase, fit

    pairs = [(prompt.question, prompt.answer) for prompt in [*PROMPTS, *OTHERS]]
    tokenizer = train_tokenizer([text for pair in pairs for text in pair], 300)
    model = new_model(tokenizer, SmallConfig(hidden=16, layers=2, heads=2, mlp=32, vocabulary=300), seed=0)
    fit(model, tokenizer, pairs, Phase(steps=steps, learning_rate=1e-2, batch_size=5), seed=0)
    return save_model(model, tokenizer, place)


class Server(FaultyServer):
    """Tells the truth in a third of the samples, by the request's seed, and never greedily."""

    def reply(self, path: str, asked: dict[str, Any], fault: str) -> dict[str, Any]:
        text = asked["prompt"] if "prompt" in asked else asked["messages"][-1]["content"]
        truth = next((prompt.answer for prompt in PROMPTS if prompt.question in text), "")
        tells = asked.get("temperature") != 0 and random.Random(asked.get("seed")).random() < 1 / 3
        answer = truth if tells else "I do not know."
        chat = {"message": {"role": "assistant", "content": answer}}
        return {
            "id": "1", "object": "x", "created": 0, "model": "toy-2",
            "choices": [{"index": 0, "finish_reason": "stop", **(chat if "messages" in asked else {"text": answer})}],
            "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
        }  # fmt: skip


def command(*words: object) -> None:
    from leakatk.cli.main import main

    sys.argv = ["leakatk", *map(str, words)]
    try:
        main()
    except SystemExit as stop:
        if stop.code:
            raise


def unlearning(out: str, *, stop_at: int = 0) -> Any:
    """Six steps of NPO with a checkpoint every second; `stop_at`: interrupted after that step."""
    from leakatk.models.load import load_model
    from leakatk.unlearning import trainer
    from leakatk.unlearning.methods import METHODS
    from leakatk.unlearning.settings import Check, TrainSettings

    def check(loaded: object, step: int) -> Check:
        if step == stop_at:
            raise KeyboardInterrupt
        return Check({"step": float(step)})

    settings = TrainSettings(
        learning_rate=1e-3, max_steps=6, forget_batch=2, retain_batch=2, checkpoint_every=2, check_every=1
    )
    try:
        return trainer.unlearn(
            load_model("model", device="cpu"), PROMPTS, OTHERS, METHODS["npo"],
            settings=settings, out=out, seed=3, quiet=True, on_check=check,
        )  # fmt: skip
    except KeyboardInterrupt:
        assert stop_at
        return None


def shards_only(out: str) -> None:
    """A run that was killed in its second session: n = 4, sampled up to 2, then on, and the last line is cut short."""
    from leakatk.auditing.sample import sample
    from leakatk.runs.store import Run

    finish = Run.finish
    Run.finish = lambda self: None  # type: ignore[method-assign]
    try:
        for n in (2, 4):
            with sample("model", PROMPTS, n=n, seed=5, out=out, quiet=True):
                pass
    finally:
        Run.finish = finish  # type: ignore[method-assign]
    shard = sorted((Path(out) / "generations").glob("*.jsonl"))[-1]
    shard.write_bytes(shard.read_bytes()[:-20])


def make(place: Path) -> None:
    import leakatk as lk
    from leakatk.prompts import save_prompts

    platform.node = lambda: "elsewhere"  # what a lock names
    os.environ["OPENAI_API_KEY"] = "none"
    place.mkdir(parents=True)
    os.chdir(place)
    save_prompts(PROMPTS, Path("forget.jsonl"))
    save_prompts(OTHERS, Path("retain.jsonl"))
    smaller_model(Path("model"), 120)
    prompts = ("--forget", "forget.jsonl", "--retain", "retain.jsonl")
    command("audit", "model", *prompts, "--out", "audit", "--n", 16, "--probe", "prefix", "--max-new-tokens", 16, "--seed", 1, "--device", "cpu", "--quiet")  # fmt: skip
    command("score", "audit", "--scorer", "rouge-l", "--quiet")
    command("audit", "model", "--forget", "forget.jsonl", "--out", "expansion", "--n", 8, "--expand", 20, "--max-new-tokens", 16, "--device", "cpu", "--quiet")  # fmt: skip
    lk.sample("model", PROMPTS, n=8, seed=2, out="sampled", quiet=True)
    shards_only("unfinished")
    server = Server()
    try:
        command(
            "audit", "toy", "--url", server.url, "--forget", "forget.jsonl", "--out", "endpoint", "--n", 8, "--quiet"
        )
    finally:
        server.close()
    command("bench", "forget.jsonl", "--model", "model", "--out", "bench", "--n", 8, "--retain-n", 2, "--device", "cpu", "--quiet")  # fmt: skip
    unlearning("unlearned")
    unlearning("interrupted", stop_at=5)
    command("unlearn", "model", *prompts, "--method", "rule", "--base", "npo", "--rounds", 2, "--n", 16, "--steps", 2, "--max-new-tokens", 16, "--lr", "1e-4", "--control", "--out", "rule", "--device", "cpu", "--quiet")  # fmt: skip
    for page in Path().rglob("report.html"):
        page.unlink()  # 60 kB each, and made again from the rest


if __name__ == "__main__":
    where = Path(sys.argv[1])
    shutil.rmtree(where, ignore_errors=True)
    make(where)
