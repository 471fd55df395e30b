"""Small runs of every kind that the library writes and reads back: made in seconds, without a network."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leakatk.auditing.audit import audit
from leakatk.auditing.bounds import expansions
from leakatk.bench import bench as benching
from leakatk.bench.results import read_rows
from leakatk.benchmarks.base import Benchmark
from leakatk.files.writing import read_kept
from leakatk.models.load import load_model
from leakatk.models.loaded import LoadedModel
from leakatk.prompts import Generation
from leakatk.runs.store import Run
from leakatk.sampling.decoding import Decoding
from leakatk.scorers.judge_client import Store
from leakatk.small.architecture import SmallConfig
from leakatk.small.fit import Phase
from leakatk.small.train import Stage, Training, train
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.rule.rule import rule
from leakatk.unlearning.rule.settings import RuleSettings
from leakatk.unlearning.settings import Check, TrainSettings
from leakatk.unlearning.trainer import unlearn
from tests.faults.corruption import Kind
from tests.tiny import PROMPTS, save_tiny_model

SHORT = Decoding(max_new_tokens=6)


def weights(model: torch.nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


def untimed(value: Any) -> Any:
    """Without what differs from run to run: seconds, and what comes of them."""
    if isinstance(value, dict):
        return {
            k: untimed(v) for k, v in value.items() if "seconds" not in k and k not in ("created", "notes", "command")
        }
    return [untimed(one) for one in value] if isinstance(value, list | tuple) else value


def runs_in(place: Path) -> str:
    """All that the runs below a directory say."""
    found: list[Any] = []
    for manifest in sorted(place.rglob("manifest.json")):
        run = Run.open(manifest.parent)
        found.append([run.manifest.seed, run.prompt_ids, [p.answer for p in run.prompts], run.texts(), run.finishes()])
        found.append([[(g.prompt_id, g.sample, g.token_ids, g.logprob) for g in run.generations()], run.reasonings()])
        found.append([(name, run.scores(name).tolist(), run.score_info(name)) for name in run.score_names()])
        if (run.path / "results.json").exists():
            found.append(untimed(run.results()))
    for trees in sorted(place.rglob("expansion-*.parquet")):
        budget = int(trees.stem.partition("-")[2])
        found.append(expansions(None, [], SHORT, budget, out=trees.parent))  # of no prompts: only what is kept
    return repr(found)


# --- an audit


def audited(model: Path) -> Kind:
    def again(place: Path) -> Any:
        results = audit(
            model, PROMPTS, out=place, n=4, decoding=SHORT, retain=PROMPTS[:2], probes=("prefix",), expand=8, quiet=True,
            label="tiny",
        )  # fmt: skip
        return json.dumps(untimed(results))

    return Kind("audit", again, runs_in, again)


# --- samples of a run that was interrupted: shards, not compacted yet


def interrupted(model: Path) -> Kind:
    from leakatk.auditing.sample import sample

    def again(place: Path) -> Any:
        return sample(model, PROMPTS, n=4, decoding=SHORT, out=place, quiet=True).texts()

    def make(place: Path) -> None:
        again(place)
        run = Run.open(place)
        lines = [run.path / "generations" / f"{i:06d}.jsonl" for i in (1, 2)]
        from leakatk.runs.shards import encode_line

        held = [encode_line(one) for one in run.generations()]
        lines[0].write_bytes(b"".join(held[:7]))
        lines[1].write_bytes(b"".join(held[7:10]))
        (place / "generations.parquet").unlink()

    return Kind("interrupted run", make, None, again)


# --- unlearning


TRAIN = TrainSettings(
    learning_rate=1e-3, max_steps=6, forget_batch=2, retain_batch=2, checkpoint_every=2, check_every=1
)


def trained(model: Path, *, stop: int | None) -> Kind:
    """stop: the step at which it is interrupted, with checkpoints behind it; None: it is finished."""

    def run(place: Path, stop: int | None = None) -> Any:
        def check(_: LoadedModel, step: int) -> Check:
            if step == stop:
                raise KeyboardInterrupt
            return Check({"step": float(step)})

        loaded = load_model(model, device="cpu")
        done = unlearn(loaded, PROMPTS, PROMPTS, METHODS["npo"], out=place, settings=TRAIN, quiet=True, on_check=check)
        return weights(loaded.model), repr(untimed(done.log)), done.steps, repr(done.checks)

    def make(place: Path) -> None:
        try:
            run(place, stop)
        except KeyboardInterrupt:
            assert len(list(place.glob("checkpoints/step-*"))) == 2

    def read(place: Path) -> Any:
        return repr(untimed(read_kept(place / "unlearning.json"))), weights(load_model(place, device="cpu").model)

    if stop is not None:
        return Kind("unlearning, interrupted", make, None, run)
    return Kind("unlearning, finished", make, read, run)


# --- RULE


class Scripted:
    name = "scripted"

    def describe(self) -> dict[str, Any]:
        return {"engine": self.name}

    def sample(self, requests: Any, decoding: Decoding, *, seed: int) -> Iterator[list[Generation]]:
        for request in requests:
            said = "LEAK" if request.prompt.id == "p0" else "nothing"
            yield [Generation(request.prompt.id, j, f"{said} {j % 3}", (), math.nan, "stop") for j in request.samples]


def ruled(model: Path) -> Kind:
    few = TrainSettings(learning_rate=1e-3, max_steps=2, forget_batch=2, retain_batch=2, checkpoint_every=1)

    def leaks(_: Any, texts: Any) -> Any:
        return np.array([float("LEAK" in text) for text in texts])

    def again(place: Path) -> Any:
        loaded = load_model(model, device="cpu")
        done = rule(
            loaded, PROMPTS, PROMPTS, "npo", score=leaks, settings=RuleSettings(rounds=2, n=4, k=4, cap=2), train=few,
            sampler=Scripted(), out=place, quiet=True,
        )  # fmt: skip
        rounds = [[r.leak, r.high, r.found, r.added, r.steps] for r in done.rounds]
        return weights(loaded.model), repr(rounds), done.chosen, done.verdict

    def read(place: Path) -> Any:
        return repr(untimed(read_kept(place / "rounds.json")))

    return Kind("RULE", again, read, again)


# --- bench


def benched(model: Path, retrained: Path) -> Kind:
    tiny = Benchmark(
        name="tiny", forget=PROMPTS, retain=PROMPTS[:2], retain_held=PROMPTS[:2], holdout=PROMPTS[1:], origin="made"
    )

    def again(place: Path) -> Any:
        benching.bench(
            model, tiny, out=place, reference=retrained, n=2, retain_n=2, decodings=[SHORT], quiet=True, device="cpu",
            grad_norm=False,
        )  # fmt: skip
        return rows(place)

    def rows(place: Path) -> Any:
        return repr([{k: v for k, v in row.items() if k != "run"} for row in read_rows(place)])

    def read(place: Path) -> Any:
        cells = [
            read_kept(path)
            for path in sorted(place.glob("cells/**/*.json"))
            if path.name not in ("manifest.json", "results.json")
        ]
        return rows(place), repr(cells), runs_in(place)

    return Kind("bench", again, read, again)


# --- small models


def small(_: Path) -> Kind:
    phase = Phase(steps=2, learning_rate=1e-3, batch_size=2)
    pairs = tuple((p.question, p.answer) for p in PROMPTS)
    stages = (
        Stage("base", pairs, phase),
        Stage("full", pairs, phase, "base"),
        Stage("retrained", pairs[1:], phase, "base"),
    )
    plan = Training(stages, SmallConfig(hidden=32, layers=1, heads=2, mlp=64, vocabulary=300))

    def again(place: Path) -> Any:
        made = train(plan, place, quiet=True)
        return [weights(load_model(path, device="cpu").model) for path in (made.base, made.full, made.retrained)]

    def make(place: Path) -> None:
        import shutil

        again(place)
        shutil.rmtree(place / "full")  # interrupted: the base is read again

    return Kind("small models", make, None, again)


# --- a judge's replies


def judged(_: Path) -> Kind:
    said = {f"key{i}": float(i % 2) for i in range(30)}

    def make(place: Path) -> None:
        store = Store(place / "judge.jsonl")
        for key, label in said.items():
            store.add({"scores": {key: label}, "reply": f"{key} says {label}"})

    def read(place: Path) -> Any:
        store = Store(place / "judge.jsonl")
        found = store.labels()
        lost = len(said) - len(found)  # asked again, and counted
        return all(said.get(key) == label for key, label in found.items()) and store.damaged >= bool(lost)

    return Kind("judge", make, read)


def kinds(folder: Path) -> list[Kind]:
    model, other = (save_tiny_model(folder / f"tiny-{seed}", seed=seed) for seed in (0, 1))
    makers: list[Callable[[Path], Kind]] = [audited, interrupted, ruled, small, judged]
    return [
        *(maker(model) for maker in makers),
        trained(model, stop=5),
        trained(model, stop=None),
        benched(model, other),
    ]
