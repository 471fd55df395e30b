"""kill -9 at any moment of an audit or of an unlearning run: the same command then ends with the same numbers."""

import json
import multiprocessing
import os
import random
import signal
import time

import pytest
from safetensors.torch import load_file

from tests.tiny import PROMPTS, save_tiny_model

KILLS = 10


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def spawn():
    """Start a function in a process of its own; the server has the imports done, so a start takes milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["leakatk.auditing.audit", "leakatk.sampling.engines", "leakatk.unlearning.trainer"])
    return lambda call, *arguments: context.Process(target=call, args=arguments)


def audit(model, out):
    import torch

    import leakatk as lk

    torch.set_num_threads(1)
    return lk.audit(model, PROMPTS, out=out, n=24, retain=PROMPTS, decoding=lk.Decoding(max_new_tokens=24), quiet=True)


def unlearn(model, out):
    import torch

    from leakatk.models.load import load_model
    from leakatk.unlearning.methods import METHODS
    from leakatk.unlearning.settings import TrainSettings
    from leakatk.unlearning.trainer import unlearn

    torch.set_num_threads(1)
    settings = TrainSettings(learning_rate=1e-3, max_steps=12, forget_batch=2, retain_batch=2, checkpoint_every=2)
    unlearn(load_model(model), PROMPTS, PROMPTS, METHODS["npo"], out=out, settings=settings, quiet=True)


def killed(process, after):
    process.start()
    process.join(after)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    return process.exitcode == -signal.SIGKILL


def moments(length, seed):
    """Moments spread over the whole length: a random one of each tenth."""
    rng = random.Random(seed)
    return [length * (i + rng.random()) / KILLS for i in range(KILLS)]


def timed(spawn, call, model, out):
    """Seconds an undisturbed process takes, its start included."""
    process = spawn(call, model, out)
    start = time.perf_counter()
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - start


def without_times(results):
    return {key: value for key, value in results.items() if key != "seconds"}


def test_audit(spawn, model, tmp_path):
    timed(spawn, audit, model, tmp_path / "first")  # the server starts with the first process
    length = timed(spawn, audit, model, tmp_path / "whole")
    wanted = without_times(json.loads((tmp_path / "whole" / "results.json").read_text()))
    kills = 0
    for i, moment in enumerate(moments(length, 0)):
        out = tmp_path / f"run-{i}"
        kills += killed(spawn(audit, model, out), moment)
        assert without_times(audit(model, out)) == wanted
    assert kills > KILLS // 3


def test_unlearn(spawn, model, tmp_path):
    timed(spawn, unlearn, model, tmp_path / "first")
    length = timed(spawn, unlearn, model, tmp_path / "whole")
    wanted = load_file(tmp_path / "whole" / "model.safetensors")
    kills = 0
    for i, moment in enumerate(moments(length, 1)):
        out = tmp_path / f"run-{i}"
        kills += killed(spawn(unlearn, model, out), moment)
        unlearn(model, out)
        found = load_file(out / "model.safetensors")
        assert found.keys() == wanted.keys()
        assert all((found[name] == wanted[name]).all() for name in wanted)
    assert kills > KILLS // 3
