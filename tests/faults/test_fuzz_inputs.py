"""Whatever file a user gives, a command ends in one sentence or in an answer: never in a crash, never for ever.

`LEAKATK_FUZZ=10000 pytest tests/faults/test_fuzz_inputs.py -s -m slow` is the long form, LEAKATK_FUZZ_SEED another seed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
import typer.main

from leakatk.auditing.audit import audit
from leakatk.cli.main import app, main
from leakatk.prompts import Generation
from tests.faults import inputs
from tests.tiny import PROMPTS

SEED = int(os.environ.get("LEAKATK_FUZZ_SEED", "0"))
LONG = int(os.environ.get("LEAKATK_FUZZ", "10000"))
SECONDS = 60  # of one command; it answers in a fraction of a second

ROWS = [
    {"id": p.id, "question": p.question, "answer": p.answer, "facts": list(p.facts), "source": p.source,
     "paraphrases": ["And?"], "perturbed_answer": ["no", "none"]}
    for p in PROMPTS
]  # fmt: skip
GENERATIONS = [
    {"prompt": p.question, "ground_truth": p.answer, "responses": [{"response": text, "score": 0.5} for text in (p.answer, "No.")]}
    for p in PROMPTS
]  # fmt: skip
ITEMS = {str(i): {"prob": 0.1 * i, "avg_loss": 1.0 + i} for i in range(4)}
TEXTS = {
    str(i): {"rougeL_recall": 0.5, "rougeL_f1": 0.4, "rouge1_recall": 0.3, "ground_truth": "a b", "generation": "a c"}
    for i in range(4)
}
SCORES = {"agg_value": 0.5, "value_by_index": {str(i): {"score": 0.1 * i} for i in range(4)}}
LOG = {
    "forget_Q_A_Prob": {"agg_value": 0.2, "value_by_index": ITEMS},
    "forget_Q_A_PARA_Prob": {"agg_value": 0.2, "value_by_index": ITEMS},
    "forget_Q_A_PERT_Prob": {
        "agg_value": 0.2,
        "value_by_index": {i: {"prob": [0.1, 0.2], "avg_loss": [1.0, 2.0]} for i in ITEMS},
    },
    "forget_Q_A_ROUGE": {"agg_value": 0.4, "value_by_index": TEXTS},
    "forget_truth_ratio": SCORES,
    "retain_Truth_Ratio": SCORES,
    "mia_min_k": {"agg_value": 0.5, "forget": SCORES, "holdout": SCORES},
    "extraction_strength": SCORES,
    "privleak": {"agg_value": -1.0},
}
AGGREGATED = {
    "eval_log_forget.json": {
        "avg_gt_loss": {"0": 1.0, "1": 2.0}, "avg_paraphrased_loss": {"0": 1.0, "1": 2.0},
        "average_perturb_loss": {"0": [1.0, 2.0], "1": [2.0, 1.0]}, "rougeL_recall": {"0": 0.5, "1": 0.1},
    },
    "eval_log.json": {"avg_gt_loss": {"0": 1.0}, "rougeL_recall": {"0": 0.5}},
}  # fmt: skip


class Says:
    """An engine that knows half of the answers."""

    name = "says"

    def describe(self):
        return {"engine": self.name, "model": "m"}

    def sample(self, requests, decoding, *, seed):
        for request in requests:
            yield [
                Generation(request.prompt.id, j, request.prompt.answer if j % 2 else "No.", (1, 2), -1.0, "stop")
                for j in request.samples
            ]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A small audited run, and beside it what `bench` writes."""
    place = tmp_path_factory.mktemp("runs")
    audit(Says(), PROMPTS, out=place / "run", n=4, quiet=True, scorers=["rouge-l", "verbatim"], retain=PROMPTS[:1])
    from leakatk.bench.results import KEY, write_rows

    row = dict.fromkeys(KEY, "x") | {
        "seed": 0,
        "model": "m",
        "role": "model",
        "benchmark": "b",
        "n": 4,
        "scorer": "rouge-l",
    }
    numbers = {f"leak@{k}{bound}": 0.1 * k for k in (1, 2, 4) for bound in ("", " low", " high")}
    write_rows(place / "run" / "results.parquet", [row | numbers | {"greedy": 0.5, "retain": None}])
    shutil.copytree(place / "run", place / "other")
    (place / "results").mkdir()
    (place / "run" / "results.parquet").rename(place / "results" / "results.parquet")
    (place / "other" / "results.parquet").unlink()
    return place


def ended(*words):
    """(exit code, what was printed, seconds) of a command in this process; 3 is a crash, -1 one that did not end."""
    sys.argv = ["leakatk", *map(str, words)]
    out, code, start = io.StringIO(), 0, time.monotonic()

    def hangs(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            main()
    except SystemExit as stop:
        code = stop.code or 0
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    return code, out.getvalue(), time.monotonic() - start


def raw(text):
    """Characters that act on a terminal without being seen."""
    return [
        char
        for char in text
        if char != "\n"
        and ((ord(char) < 32 and char != "\t") or 127 <= ord(char) < 160 or char in "\u202a\u202e\u2066\u200b\ufeff")
    ]


def options_of(command):
    return [max((o.lstrip("-") for o in p.opts), key=len) for p in typer.main.get_command(app).commands[command].params]


def no_file(rng, path):
    """In the place of a file: a pipe, a device without an end, a loop, a directory, a link that leads nowhere."""
    path.unlink(missing_ok=True)
    kind = rng.randrange(5)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.mkdir()
    else:
        path.symlink_to(("/dev/zero", path, path.with_name("nowhere"))[kind - 2])


def files(rng, place, runs):
    """One odd input and a command that reads it."""
    words = _files(rng, place, runs)
    for word in words:
        if isinstance(word, Path) and word.is_file() and rng.random() < 0.02:
            no_file(rng, word)
            break
    return words


def _files(rng, place, runs):
    kind = rng.randrange(8)
    if kind == 0:
        path = place / rng.choice(("p.jsonl", "p.json"))
        path.write_bytes(inputs.jsonl(rng, ROWS))
        return "benchmark", "check", path
    if kind == 1:
        path = place / rng.choice(("p.csv", "p.tsv"))
        path.write_bytes(inputs.table(rng, ROWS))
        return (
            "benchmark",
            "check",
            path,
            *(("--column", f"answer={rng.choice((*ROWS[0], *inputs.TEXTS))}") if rng.random() < 0.2 else ()),
        )
    if kind == 2:
        path = place / "p.parquet"
        path.write_bytes(inputs.parquet(rng, ROWS))
        return "benchmark", "check", path
    if kind == 3:
        path, command = place / "c.toml", rng.choice(("plan", "plan", "audit", "score", "report"))
        path.write_bytes(inputs.toml(rng, options_of(command)))
        return command, "--config", path
    if kind == 4:
        path = place / "generations_n2.json"
        rows = GENERATIONS if rng.random() < 0.9 else ROWS
        path.write_bytes(inputs.parquet(rng, rows) if rng.random() < 0.1 else inputs.jsonl(rng, rows))
        return "score", path, "--scorer", rng.choice(("rouge-l", "keys", "verbatim", "fact"))
    if kind == 5:
        path = place / "TOFU_EVAL.json"
        log = rng.choice((LOG, AGGREGATED))
        for _ in range(rng.choice((0, 1, 1, 3))):
            log = inputs.changed(rng, log)
        path.write_bytes(inputs.maybe_damaged(rng, inputs.as_json(rng, log).encode("utf-8", "surrogatepass")))
        return "recompute", path, *(("--retained", path) if rng.random() < 0.3 else ())
    return damaged_run(rng, place, runs, results=kind == 6)


def damaged_run(rng, place, runs, *, results):
    """A run with one file of it odd, and a command that reads it."""
    run = place / "run"
    shutil.rmtree(run, ignore_errors=True)
    if rng.random() < 0.15:
        shutil.copytree(runs / "results", run)
        path = run / "results.parquet"
        path.write_bytes(inputs.damaged(rng, path.read_bytes()))
        return "table", run, *(("--layout", rng.choice(("leak", "grid", "tofu"))) if rng.random() < 0.5 else ())
    shutil.copytree(runs / "run", run)
    for index in run.rglob("*.checksums"):  # an older directory has none, and opens all the same
        index.unlink()
    names = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file() and path.name != "run.lock")
    path = run / ("results.json" if results else rng.choice(names))
    if rng.random() < 0.05:
        no_file(rng, path)
    elif path.suffix == ".json" and rng.random() < 0.7:
        item = json.loads(path.read_text())
        for _ in range(rng.choice((1, 1, 2, 5))):
            item = inputs.changed(rng, item)
        path.write_bytes(inputs.as_json(rng, item).encode("utf-8", "surrogatepass"))
    else:
        path.write_bytes(inputs.damaged(rng, path.read_bytes()))
    return rng.choice(
        (
            ("report", run, "--out", place / "page.html", *rng.choice(((), ("--json",), ("--csv",), ("--md",)))),
            ("report", run, runs / "other", "--out", place / "page.html"),
            ("compare", run, runs / "other", "--scorer", "rouge-l"),
            ("score", run, "--scorer", "rouge-1"),
            ("plan", "--k", "4", "--half-width", "0.1", "--pilot", run),
        )
    )


def fuzz(count, place, runs, capsys):
    failures, slowest = [], (0.0, 0)
    for case in range(count):
        for left in place.glob("*.*"):  # the last one's, whatever it is
            shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        words = files(random.Random(f"{SEED} {case}"), place, runs)
        code, said, seconds = ended(*words)
        slowest = max(slowest, (seconds, case))
        if code not in (0, 2) or raw(said):
            failures.append(f"case {case}: exit {code}, {' '.join(map(str, words))}\n{said[-600:]!a}")
    with capsys.disabled():
        print(
            f"\n{count:,} odd inputs (seed {SEED}), {len(failures)} failures; the slowest took {slowest[0]:.1f} s (case {slowest[1]})"
        )
    assert not failures, "\n".join(failures[:20])


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "crashes").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "crashes"))
    monkeypatch.chdir(tmp_path / "here")  # an odd --out lands here
    monkeypatch.setattr(sys, "argv", ["leakatk"])
    return tmp_path


@pytest.mark.filterwarnings("ignore")
def test_no_odd_input_ends_in_a_crash(place, run, capsys):
    fuzz(150, place, run, capsys)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.filterwarnings("ignore")
def test_no_odd_input_ends_in_a_crash_long(place, run, capsys):
    fuzz(LONG, place, run, capsys)
