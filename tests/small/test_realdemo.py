"""The demo on a real model: the whole of it on a tiny stand-in, what it says before, and what is refused; the real one is slow."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from leakatk.errors import InputError, RunError
from leakatk.files.writing import read_kept
from leakatk.small import realdemo
from leakatk.small.jobs import run_jobs
from leakatk.small.realdemo import expected_of, jobs_of, real_demo, says
from leakatk.small.realdemo_page import audits_of, verdict
from leakatk.small.realdemo_plan import MODELS, Plan, Scale

TINY = Scale(
    people={"forget": 1, "retain": 2, "retain_held": 1},
    training={"learning_rate": 4e-3, "max_steps": 160, "epochs": None, "retain_batch": 8, "warmup_epochs": 0.0, "warmup_steps": 10},
    unlearning={"learning_rate": 1e-3, "max_steps": 6, "forget_batch": 4, "retain_batch": 4, "check_every": 3, "checkpoint_every": 2},
    asked_in="fp32", samples=8, rounds=1, round_samples=8, round_steps=2,
)  # fmt: skip
PILOT = {
    "seconds": 2.0,
    "memory": 1e9,
    "precision": "fp32",
    "tokens_per_second": 100.0,
    "answer_tokens": 10.0,
    "batch": 8,
}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A random model that has the words of the world."""
    from leakatk.benchmarks.worlds.people import make_world
    from leakatk.small.architecture import SmallConfig, new_model, save_model, train_tokenizer

    place = tmp_path_factory.mktemp("start") / "tiny"
    world = make_world(0, **TINY.people, holdout=0, world_facts=0, pretraining=0)
    texts = [text for p in (*world.forget, *world.retain, *world.retain_held) for text in (p.question, p.answer)]
    tokenizer = train_tokenizer(texts, 400)
    save_model(
        new_model(tokenizer, SmallConfig(hidden=64, layers=2, heads=2, mlp=128, vocabulary=400), seed=0),
        tokenizer,
        place,
    )
    return place


@pytest.fixture(scope="module")
def plan(start):
    return Plan(str(start), "world", None, TINY)


@pytest.fixture(scope="module")
def done(start, tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(realdemo, "find_source", lambda data: "world")
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as stopped:

        def first_three(jobs, **how):
            if len(jobs) == 1:  # the pilot
                return run_jobs(jobs, **how)
            run_jobs(jobs[:3], **{**how, "workers": 1})  # a process takes seconds to start
            raise KeyboardInterrupt

        stopped.setattr(realdemo, "run_jobs", first_three)
        with pytest.raises(KeyboardInterrupt):
            real_demo(out, model=str(start), scale=TINY, quiet=True)
    assert not (out / "report.html").exists()
    full = (out / "models" / "full" / "model.safetensors").stat().st_mtime_ns
    yield real_demo(out, model=str(start), scale=TINY, quiet=True)
    assert (out / "models" / "full" / "model.safetensors").stat().st_mtime_ns == full
    patch.undo()


@pytest.mark.timeout(900)
def test_every_model_is_made_audited_and_reported(done, plan):
    audits = audits_of(done.parent)
    assert [audit.results.scorers["fact"].as_dict()["curves"]["samples"]["k"][-1] for audit in audits] == [8] * len(
        MODELS
    )
    greedy = {
        name: audit.results.scorers["fact"].as_dict()["greedy"] for name, audit in zip(MODELS, audits, strict=True)
    }
    assert greedy["full"] > 0.9
    assert greedy["retrained"] < 0.5
    text = done.read_text()
    for words in (
        "RULE-NPO",
        "same steps, no RULE",
        "retrained (yardstick)",
        "They stopped: NPO after",
        " in one process",
    ):
        assert words in text
    assert "full 6 of 6 of the forget and 18 of 18 of the retain answers" in text
    assert "8 samples" in verdict(audits, 8)
    spent = read_kept(done.parent / "spent.json")
    assert set(spent["seconds"]) == {job.name for job in jobs_of(done.parent, 0, plan)}
    assert 0 < spent["one"] <= spent["together"]


@pytest.mark.timeout(900)
def test_what_is_done_is_not_done_again(done, start):
    def made():
        kinds = ("*.safetensors", "generations.parquet", "pilot.json")
        return {path: path.stat().st_mtime_ns for kind in kinds for path in done.parent.rglob(kind)}

    before = made()
    again = real_demo(done.parent, model=str(start), scale=TINY, workers=1, quiet=True)
    trained = {path for path, when in made().items() if before[path] != when}
    # RULE and its control save their final model again from their finished rounds; nothing else is made twice.
    assert {path.parent.name for path in trained} <= {"rule", "control"}
    assert again == done
    with pytest.raises(RunError, match="made otherwise"):
        real_demo(done.parent, model=str(start), scale=replace(TINY, samples=16), quiet=True)


def test_what_it_will_take_is_said_before(plan, tmp_path):
    takes = expected_of(plan, 0, PILOT)
    assert takes["teach full"] == 2.0 * 160
    assert takes["control"] == 2 * (2.0 * 3 * 4 / 8)  # two steps of 4 and 4, with a frozen model beside
    assert takes["unlearn npo"] == 1.25 * 6 * (2.0 * 3 * 4 / 8)
    assert takes["audit full"] == pytest.approx(6 * 8 * 1.5 * 10 / 100)
    assert takes["rule"] == pytest.approx(takes["control"] + 6 * 8 * 1.5 * 10 / 100)
    jobs = jobs_of(tmp_path, 0, plan, PILOT)
    assert {job.name: job.expected for job in jobs} == takes
    text = says(plan, jobs, 2, 0)
    assert "6 answers to forget, 18 to keep" in text
    assert "on this machine if nothing else runs" in text
    assert "the same command goes on" in text
    assert sum(job.expected for job in jobs_of(tmp_path, 0, plan)) == 0


def test_every_job_comes_after_what_it_reads(plan, tmp_path):
    jobs = {job.name: job for job in jobs_of(tmp_path, 0, plan)}
    assert jobs["teach full"].after == jobs["teach retrained"].after == ()
    assert jobs["rule"].after == ("unlearn npo",)
    assert jobs["control"].after == ("rule",)
    for model in MODELS:
        if model != "retrained":
            assert "audit retrained" in jobs[f"audit {model}"].after


def test_a_foreign_directory_is_refused(tmp_path, start):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="holds no demo of a real model"):
        real_demo(tmp_path, model=str(start), scale=TINY, quiet=True)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InputError, match="--workers must be at least 1"):
        real_demo(tmp_path / "o", model=str(start), workers=0)


@pytest.mark.slow  # half an hour of two cores
@pytest.mark.timeout(4 * 3600)
def test_the_real_one(tmp_path):
    from leakatk.models.pretrained import MODELS as KNOWN

    here = [name for name, model in KNOWN.items() if model.is_here()]
    if not here:
        pytest.skip("no known model on this machine: run leakatk fetch smollm2-135m")
    data = os.environ.get("LEAKATK_DATA")
    page = real_demo(tmp_path / "demo", model=here[0], data=str(Path(data) / "tofu") if data else None, quiet=True)
    recall = {
        name: json.loads((page.parent / "models" / "recall" / f"{name}.json").read_text())
        for name in ("full", "retrained")
    }
    share = {
        name: sum(one["score"] == 1 for one in found["sets"]["forget"]["answers"])
        / len(found["sets"]["forget"]["answers"])
        for name, found in recall.items()
    }
    assert share["full"] > 0.9
    assert share["retrained"] < 0.25
    assert "RULE-NPO" in page.read_text()
