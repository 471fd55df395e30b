"""Demo on a real pre-trained model: teach it a few authors, make it forget two, sample every model, write one report.

The same jobs as in the small demo (`leakatk.small.demo`), every one resumable, one process a core.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leakatk.errors import InputError
from leakatk.files.writing import read_kept, write_kept
from leakatk.progress import format_seconds
from leakatk.small.jobs import Job, Memory, expected_seconds, run_jobs
from leakatk.small.realdemo_page import write_page
from leakatk.small.realdemo_plan import (
    BASES,
    LABELS,
    MARKER,
    MODEL,
    MODELS,
    ROLES,
    RULE_BASE,
    Plan,
    Scale,
    find_source,
    scale_for,
)
from leakatk.workdir import claim, refuse_foreign, settle

if TYPE_CHECKING:
    from leakatk.unlearning.settings import TrainSettings

FRESH_SEED = 10_000  # audits draw from other random streams than RULE's detection did
SIDES = (
    3.0  # a step on forget and retain answers with a frozen model to compare with, in steps on as many answers alone
)
CHECKS = 1.25  # checks while unlearning take a fifth at most
LONGER = 1.5  # sampled answers are longer than true ones, and end together with the longest
PILOT_SAMPLES = 8


@dataclass(frozen=True, slots=True)
class Teach:
    """The full or the retrained model."""

    plan: Plan
    split: str

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.small.finetune import finetune

        first = [self.plan.load()]
        finetune(
            lambda: first.pop() if first else self.plan.load(), self.plan.lessons(seed), place / "models",
            settings=self.plan.training(first[0]), splits=(self.split,), seed=seed, quiet=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unlearn:
    """Unlearn the full model with one method until greedy answers forget."""

    plan: Plan
    method: str

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.scorers.knows import default_scorers
        from leakatk.unlearning.stop import greedy_stop
        from leakatk.unlearning.trainer import unlearn

        bench, method = self.plan.lessons(seed).benchmark, self.plan.method(self.method)
        check = greedy_stop(
            bench.forget,
            bench.retain,
            default_scorers(bench.forget)[0],
            max_new_tokens=self.plan.tokens,
            utility_at_least=0.9,
        )
        unlearn(
            self.plan.load(place / "models" / "full"), bench.forget, bench.retain, method, out=place / "models" / self.method,
            settings=method.settings, seed=seed, quiet=True, on_check=check,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """RULE on the already unlearned model, or its control: as many gradient steps with nothing added."""

    plan: Plan
    control: bool = False

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.models.load import save_model
        from leakatk.sampling.decoding import Decoding
        from leakatk.scorers.base import get_scorer
        from leakatk.scorers.knows import default_scorers
        from leakatk.unlearning.rule.rule import rule
        from leakatk.unlearning.rule.settings import RuleSettings

        plan, scale = self.plan, self.plan.scale
        bench, method = plan.lessons(seed).benchmark, plan.method(RULE_BASE)
        loaded = plan.load(place / "models" / RULE_BASE)
        settings = RuleSettings(
            rounds=scale.rounds, n=scale.round_samples, k=scale.round_samples,
            decodings=(Decoding(max_new_tokens=plan.tokens),),
        )  # fmt: skip
        name = "control" if self.control else "rule"
        if self.control:
            trained = read_kept(place / "rounds" / "rule" / "rounds.json")["chosen"]
            if not trained:  # RULE found no leak and took no step: its control is the base itself
                save_model(loaded, place / "models" / name)
                return
            settings = replace(settings, augment=False, rounds=trained)
        rule(
            loaded, bench.forget, bench.retain, method, score=get_scorer(default_scorers(bench.forget)[0]).score,
            settings=settings, train=method.settings.changed({"max_steps": scale.round_steps, "check_every": 0}),
            out=place / "rounds" / name, seed=seed, quiet=True,
        )  # fmt: skip
        save_model(loaded, place / "models" / name)


@dataclass(frozen=True, slots=True)
class Audit:
    """Sample and score one model, beside the retrained one."""

    plan: Plan
    model: str

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.auditing.audit import audit
        from leakatk.models.load import ModelSource
        from leakatk.sampling.decoding import Decoding

        bench, runs = self.plan.lessons(seed).benchmark, place / "runs"
        audit(
            ModelSource(str(place / "models" / self.model), dtype=self.plan.asked_in()), bench.forget, out=runs / self.model, n=self.plan.scale.samples,
            decoding=Decoding(max_new_tokens=self.plan.tokens), seed=FRESH_SEED + seed, retain=bench.retain_held or bench.retain,
            paraphrases=False, retrained=None if self.model == "retrained" else runs / "retrained", label=LABELS[self.model],
            role=ROLES.get(self.model, "model"), benchmark=bench.name, command="leakatk demo --real", quiet=True,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pilot:
    """What a training step and a sampled token take on this machine, in one process: OUT/pilot.json."""

    plan: Plan

    def __call__(self, place: Path, seed: int) -> None:
        from leakatk.sampling.base import Request
        from leakatk.sampling.decoding import Decoding
        from leakatk.sampling.native import NativeSampler
        from leakatk.small.finetune import learning
        from leakatk.small.pilot import training_pilot

        loaded, taught = self.plan.load(dtype=self.plan.asked_in()), self.plan.lessons(seed).of("full")
        asked = [Request(prompt, tuple(range(PILOT_SAMPLES))) for prompt in taught[:PILOT_SAMPLES]]
        sampler, decoding = NativeSampler(loaded), Decoding(max_new_tokens=self.plan.tokens)
        list(sampler.sample(asked[:1], replace(decoding, max_new_tokens=2), seed=seed))
        # One thread's own time on a CPU: a busy machine makes everything slower, and for how long nobody knows.
        clock = time.process_time if loaded.device.type == "cpu" else time.perf_counter
        start = clock()
        drawn = sum(len(one.token_ids) for batch in sampler.sample(asked, decoding, seed=seed) for one in batch)
        rate = drawn / (clock() - start)
        settings = self.plan.training(loaded)
        sizes = [len(loaded.tokenizer(prompt.answer)["input_ids"]) for prompt in taught]
        step = training_pilot(loaded, taught, learning(), settings, seed=seed, clock=clock)
        found = {
            **step.as_dict(), "tokens_per_second": rate, "answer_tokens": sum(sizes) / len(sizes),
            "batch": settings.retain_batch,
        }  # fmt: skip
        write_kept(place / "pilot.json", json.dumps(found))


def jobs_of(place: Path, seed: int, plan: Plan, pilot: Mapping[str, Any] | None = None) -> list[Job]:
    """The jobs, longer chains first, with what each will take where a pilot has said it."""
    after: dict[str, tuple[str, ...]] = {
        "teach full": (), "teach retrained": (),
        **{f"unlearn {base}": ("teach full",) for base in BASES},
        "rule": (f"unlearn {RULE_BASE}",), "control": ("rule",), "audit retrained": ("teach retrained",),
    }  # fmt: skip
    ready = {"full": "teach full", "rule": "rule", "control": "control", **{base: f"unlearn {base}" for base in BASES}}
    after |= {f"audit {model}": (job, "audit retrained") for model, job in ready.items()}
    calls: dict[str, Any] = {
        "teach full": Teach(plan, "full"), "teach retrained": Teach(plan, "retain"), "rule": Rule(plan),
        "control": Rule(plan, control=True), **{f"unlearn {base}": Unlearn(plan, base) for base in BASES},
        **{f"audit {model}": Audit(plan, model) for model in MODELS},
    }  # fmt: skip
    takes = expected_of(plan, seed, pilot) if pilot else {}
    return [Job(name, calls[name], place, seed, needs, takes.get(name, 0.0)) for name, needs in after.items()]


def expected_of(plan: Plan, seed: int, pilot: Mapping[str, Any]) -> dict[str, float]:
    """Seconds of each job in one process, from a pilot: roughly, and at most where a job may stop early."""
    lessons, scale = plan.lessons(seed), plan.scale
    recipe = _recipe(plan, pilot)
    questions = len(lessons.benchmark.forget)
    each = LONGER * min(float(pilot["answer_tokens"]), plan.tokens) / float(pilot["tokens_per_second"])
    step = float(pilot["seconds"])
    sizes = {**asdict(recipe), **scale.unlearning}
    one = step * SIDES * sizes["forget_batch"] / float(pilot["batch"])
    teach = {
        f"teach {name}": step * recipe.total_steps(len(lessons.of(split)), side="retain")
        for name, split in (("full", "full"), ("retrained", "retain"))
    }
    rounds = scale.rounds * scale.round_steps * one
    return {
        **teach,
        **{f"unlearn {base}": CHECKS * scale.unlearning["max_steps"] * one for base in BASES},
        "rule": rounds + scale.rounds * questions * scale.round_samples * each,
        "control": rounds,
        **{f"audit {model}": questions * scale.samples * each for model in MODELS},
    }


def _recipe(plan: Plan, pilot: Mapping[str, Any]) -> TrainSettings:
    from leakatk.unlearning.settings import TrainSettings

    given = {"epochs": 10, **plan.scale.training, "retain_batch": int(pilot["batch"])}
    if given.get("max_steps"):
        given["epochs"] = None
    return TrainSettings(**given)


def real_demo(
    out: str | Path = "demo-real", *, model: str = MODEL, data: str | None = None, seed: int = 0, workers: int = 2,
    scale: Scale | None = None, quiet: bool = False,
) -> Path:  # fmt: skip
    """Run the demo into `out` and return the path of report.html; stopped, the same call goes on where it was.

    model: a known model, which is fetched, or any other.  data: TOFU's directory, None for the hub; where TOFU is not to be
    had, invented people take its place.  Says on stderr what it will take on this machine before it starts.
    """
    from leakatk.models.fetching import fetch_model
    from leakatk.models.pretrained import MODELS as KNOWN

    if workers < 1:
        raise InputError(f"--workers must be at least 1, got {workers}.")
    out = Path(out)
    refuse_foreign(out, "demo of a real model", (MARKER,))
    if model in KNOWN:
        model = fetch_model(model, quiet=quiet).model.name
    with claim(out):
        begun = read_kept(out / MARKER) if (out / MARKER).exists() else {}
        source = str(begun.get("source") or find_source(data))
        scale = scale or scale_for(source)
        settle(
            out,
            MARKER,
            {"model": model, "source": source, "seed": seed, "scale": asdict(scale)},
            "a demo of a real model",
        )
        plan, memory = Plan(model, source, data, scale), Memory()
        if not (out / "pilot.json").exists():
            run_jobs([Job("timing a few steps", Pilot(plan), out, seed)], workers=1, quiet=quiet, memory=memory)
        jobs = jobs_of(out, seed, plan, read_kept(out / "pilot.json"))
        if not quiet:
            sys.stderr.write(f"{says(plan, jobs, workers, seed)}\n")
        start = time.perf_counter()
        seconds = run_jobs(jobs, workers=workers, quiet=quiet, memory=memory)
        spent = _spent(out, seconds, time.perf_counter() - start, memory)
        return write_page(out, plan, seed, spent)


def says(plan: Plan, jobs: list[Job], workers: int, seed: int) -> str:
    """What it will take, in words."""
    bench = plan.lessons(seed).benchmark
    kept = len(bench.retain) + len(bench.retain_held)
    taken = "TOFU" if plan.source == "tofu" else "invented people (TOFU's files are not at hand)"
    return (
        f"{plan.model}, {taken}: {len(bench.forget)} answers to forget, {kept} to keep; {len(jobs)} jobs in {workers} processes, about "
        f"{format_seconds(expected_seconds(jobs, workers))} on this machine if nothing else runs (from a few steps timed here). "
        "Stopped, the same command goes on where it was."
    )


def _spent(out: Path, seconds: Mapping[str, float], wall: float, memory: Memory) -> dict[str, Any]:
    """Seconds of every job and of all, over all tries; what was done before counts as it was then."""
    path = out / "spent.json"
    before: dict[str, Any] = {"seconds": {}, "wall": 0.0, "one": 0.0, "together": 0.0}
    if path.exists():
        before = read_kept(path)
    spent: dict[str, Any] = {
        "seconds": {name: before["seconds"].get(name, 0.0) + value for name, value in seconds.items()},
        "wall": before["wall"] + wall,
        "one": max(before["one"], memory.one),
        "together": max(before["together"], memory.together),
    }
    write_kept(path, json.dumps(spent, indent=1))
    return spent
