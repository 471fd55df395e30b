"""A dry run is right within a factor of two: on engines whose cost is known, by a clock of their own."""

import json
import math

import numpy as np
import pytest

from leakatk.cli import dry
from leakatk.prompts import Generation, Prompt
from leakatk.sampling.decoding import Decoding

SHORT = ("--n", "8", "--max-new-tokens", "6", "--quiet")


PROMPTS = [Prompt(f"p{i}", f"Who is {i}?", f"He is {i}.") for i in range(48)]


class Engine:
    """Costs a second the way models do: a step costs `step` whatever it holds and `row` for each row in it, a prompt `prompt`.

    The first call costs what 20 short answers do, besides. Answers end early, with `length` tokens on average; those of one prompt share all but
    one in `shared` of their rows. A batch of `max_rows` answers ends with its longest.
    """

    def __init__(self, *, step, row, prompt, length, max_rows, shared=1.0, says=True):
        self.step, self.row, self.prompt, self.length, self.shared = step, row, prompt, length, shared
        self.rows, self.now, self.calls = max_rows, 0.0, 0
        if says:
            self.max_rows = max_rows

    def describe(self):
        return {}

    def sample(self, requests, decoding, *, seed):
        wanted = [(request.prompt.id, j) for request in requests for j in request.samples]
        for at in range(0, len(wanted), self.rows):
            batch = [self.answer(*one, decoding) for one in wanted[at : at + self.rows]]
            lengths = [len(one.token_ids) for one in batch]
            asked = {one.prompt_id for one in batch}
            rows = sum(lengths) if self.shared == 1 else sum(lengths) / self.shared + len(asked) * max(lengths)
            self.now += self.step * max(lengths) + self.row * rows + self.prompt * len(asked)
            yield batch
        if not self.calls:  # what is compiled, loaded and allocated
            self.now += 20 * (8 * (self.step + self.row) + self.prompt)
        self.calls += 1

    def answer(self, prompt, sample, decoding):
        draw = np.random.default_rng([int(prompt[1:]), sample]).geometric(1 / self.length)
        size = min(int(draw), decoding.max_new_tokens)
        return Generation(prompt, sample, "x", (1,) * size, -1.0, "stop" if draw == size else "length")


KINDS = {
    # (on a CPU) hardly anything but the steps; rows that cost; a small model; one as slow as a row a second
    "memory-bound": {"step": 0.1, "row": 0.002, "prompt": 0.1, "length": 40, "max_rows": 256},
    "compute-bound": {"step": 0.02, "row": 0.02, "prompt": 0.1, "length": 40, "max_rows": 64},
    "tiny": {"step": 0.0008, "row": 0.00001, "prompt": 0.001, "length": 12, "max_rows": 1024},
    "slow": {"step": 1.0, "row": 0.01, "prompt": 1.0, "length": 60, "max_rows": 64},
    "gpu": {"step": 0.02, "row": 0.00001, "prompt": 0.001, "length": 100, "max_rows": 1024},
    "long": {"step": 0.03, "row": 0.001, "prompt": 0.01, "length": 1e9, "max_rows": 128},
    "shared": {"step": 0.005, "row": 0.001, "prompt": 0.01, "length": 20, "max_rows": 1024, "shared": 20.0},
    "silent": {"step": 0.05, "row": 0.001, "prompt": 0.05, "length": 30, "max_rows": 512, "says": False},
}


def both(kind, each, prompts, monkeypatch, **decoding):
    """(what the dry run says, what the run takes)."""
    monkeypatch.setattr(dry, "PILOT_SECONDS", 2.0)  # as users have it
    decoding = Decoding(**decoding)
    engine = Engine(**KINDS[kind])
    monkeypatch.setattr(dry.time, "perf_counter", lambda: engine.now)
    said = dry.sampling_cost(engine, prompts, each * len(prompts), decoding, seed=0, each=each)
    run = Engine(**KINDS[kind])
    for _ in run.sample([dry_request(prompt, each) for prompt in prompts], decoding, seed=0):
        pass
    return said, run.now, engine.now


def dry_request(prompt, each):
    from leakatk.sampling.base import Request

    return Request(prompt, range(each))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("each", "count"), [(200, 48), (50, 12), (1, 48), (1000, 4)])
def test_the_time_is_right_within_a_factor_of_two(monkeypatch, kind, each, count):
    said, took, pilot = both(kind, each, PROMPTS[:count], monkeypatch)
    assert 0.5 < said["seconds"] / took < 2, (said, took)
    print(f"{kind}, {count} x {each}: said / took {said['seconds'] / took:.2f}, pilot {pilot:.1f} s of {took:.0f}")


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_and_bytes_are_right_too(monkeypatch, kind):
    said, _, _ = both(kind, 50, PROMPTS, monkeypatch, max_new_tokens=32)
    engine = Engine(**KINDS[kind])
    drawn = [engine.answer(p.id, j, Decoding(max_new_tokens=32)) for p in PROMPTS for j in range(50)]
    tokens = sum(len(one.token_ids) for one in drawn)
    assert 0.5 < said["tokens"] / tokens < 2
    assert math.isclose(said["tokens_per_second"] * said["seconds"], said["tokens"])


def test_a_pilot_is_short(monkeypatch):
    """Of a model that takes a second a step it draws a few answers to their end, not a batch of them."""
    _, took, pilot = both("slow", 200, PROMPTS, monkeypatch)
    assert pilot < took / 10


def test_dry_run_writes_nothing(leakatk, model, forget, tmp_path):
    code, out, _ = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--dry-run")
    assert code == 0
    assert "3 prompts x 200 = 600 answers" in out
    assert "of disk (from a pilot of" in out
    code, out, _ = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", "--dry-run", "--json")
    cost = json.loads(out)
    assert cost["answers"] == 603  # and the greedy ones
    assert cost["tokens"] <= 603 * 200
    assert cost["seconds"] > 0
    assert cost["bytes"] > cost["tokens"]
    code, out, _ = leakatk(
        "unlearn",
        model,
        "--forget",
        forget,
        "--retain",
        forget,
        "--method",
        "npo",
        "--out",
        tmp_path / "m",
        "--dry-run",
    )
    assert code == 0
    assert "beta" in out
    assert "of disk" in out
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "m").exists()


def test_dry_run_of_an_expansion(leakatk, model, forget, tmp_path):
    common = ("audit", model, "--forget", forget, "--out", tmp_path / "run", "--max-new-tokens", "6", "--n", "2")
    code, out, err = leakatk(*common, "--expand", "1000", "--dry-run")
    assert code == 0, err
    assert "at most 3,000 prefixes, at most about " in out
    code, out, _ = leakatk(*common, "--expand", "1000", "--dry-run", "--json")
    assert json.loads(out)["expansion"]["seconds"] > 0


@pytest.mark.parametrize("command", ["audit", "bench"])
def test_dry_run_says_what_a_judge_would_be_asked(leakatk, model, forget, tmp_path, command):
    judge = (
        "--scorer",
        "judge:items=10,price_in=1000,price_out=0,max_cost=2",
        "--dry-run",
        "--n",
        "4",
        "--out",
        tmp_path / "run",
    )
    who = (model, "--forget", forget) if command == "audit" else (forget, "--model", model, "--retain-n", "0")
    code, out, err = leakatk(command, *who, *judge)
    assert code == 0, err
    assert (
        "gpt-4o-mini, 15 items (0 already judged) in at least 2 requests" in out
    )  # 3 prompts, 4 samples, a greedy answer
    assert "stops at $2" in out
    cost = next(iter(json.loads(leakatk(command, *who, *judge, "--json")[1])["judges"].values()))
    assert cost["dollars"] == pytest.approx(cost["tokens_in"] / 1000)
    assert not (tmp_path / "run").exists()


def test_dry_run_of_a_score(leakatk, model, forget, tmp_path):
    code, _, err = leakatk("audit", model, "--forget", forget, "--out", tmp_path / "run", *SHORT)
    assert code == 0, err
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "fact", "--dry-run")
    assert (code, out) == (0, "fact: 24 answers; the scores are there already.\n")
    before = sorted(tmp_path.rglob("*"))
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "verbatim", "--dry-run")
    assert code == 0
    assert "verbatim: 24 answers; would score" in out
    code, out, _ = leakatk("score", tmp_path / "run", "--scorer", "verbatim", "--dry-run", "--json")
    assert json.loads(out)["seconds"] >= 0
    assert sorted(tmp_path.rglob("*")) == before


def test_a_memory_that_nobody_can_tell_is_said(leakatk, model, forget, tmp_path, monkeypatch):
    monkeypatch.setattr("leakatk.models.load.stored_tensors", lambda *a, **k: None)
    words = ("audit", model, "--forget", forget, "--n", "4", "--out", tmp_path / "run", "--dry-run")
    assert "Memory: not known, because the headers" in leakatk(*words)[1]
    assert json.loads(leakatk(*words, "--json")[1])["memory"] is None
