"""Ctrl-C in the middle of an audit: one sentence with the command that goes on, exit code 130, the samples are kept."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from leakatk.prompts import save_prompts
from leakatk.runs.store import Run
from leakatk.small.demo import Job, run_jobs
from tests.tiny import PROMPTS


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ctrl_c(model, tmp_path):
    out = tmp_path / "run"
    save_prompts([replace(PROMPTS[i % 3], id=f"p{i}") for i in range(1000)], tmp_path / "many.jsonl")
    words = ["audit", str(model), "--forget", "many.jsonl", "--out", str(out), "--n", "64", "--max-new-tokens", "40"]
    process = subprocess.Popen(
        [sys.executable, "-m", "leakatk", *words],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        for _ in range(2400):
            if any(file.stat().st_size for file in (out / "generations").glob("*.jsonl")):
                break
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        _, said = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "Traceback" not in said
    assert f"leakatk audit {model}" in said.splitlines()[-1]
    kept = sum(1 for _ in Run.open(out).generations())
    assert 0 < kept < 1000 * 64


def test_the_last_word_is_the_end():
    """Python does not look for cycles among all that torch and transformers leave: that takes seconds."""
    code = """
import gc, sys
from leakatk.cli.main import main

class Left:
    def __del__(self):
        print("searched")

gc.disable()
left = Left()
left.itself = left
del left
sys.argv = ["leakatk", "--version"]
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("leakatk ")
    assert "searched" not in done.stdout + done.stderr


def waits(place, seed):
    time.sleep(seed)


def fails(place, seed):
    raise OSError("no")


@pytest.mark.slow
def test_jobs_end_with_the_first_that_fails(tmp_path):
    """Also with Ctrl-C: nobody waits for the minutes that another job would take."""
    start = time.monotonic()
    with pytest.raises(OSError, match="no"):
        run_jobs([Job("long", waits, tmp_path, 600), Job("bad", fails, tmp_path, 0)], quiet=True)
    assert time.monotonic() - start < 100
    deadline = time.monotonic() + 10
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not multiprocessing.active_children()
