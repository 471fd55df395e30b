"""The precision of training: by what is asked, the processor and the model's size; kept when a run goes on elsewhere."""

import copy
import json
import os
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from leakatk.errors import RunError
from leakatk.unlearning import precision
from leakatk.unlearning.loop import Trainer
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.precision import fast_bf16, peak_memory, precision_of, reason
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn

CPU, GPU = torch.device("cpu"), torch.device("cuda")
LARGE, SMALL = nn.Linear(4000, 2500, bias=False, device="meta"), nn.Linear(4, 4)
TRAIN = TrainSettings(learning_rate=1e-3, max_steps=6, forget_batch=2, retain_batch=2, checkpoint_every=2)


@pytest.fixture(params=[True, False])
def fast(request, monkeypatch):
    """Both kinds of processor."""
    monkeypatch.setattr(precision, "fast_bf16", lambda: request.param)
    return request.param


def on(monkeypatch, *, fast):
    """This processor has fast bf16, or has not; and every model is large enough for it."""
    monkeypatch.setattr(precision, "fast_bf16", lambda: fast)
    monkeypatch.setattr(precision, "SMALLEST", 1)


@pytest.mark.parametrize(
    ("features", "flags", "expected"),
    [
        ({"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": False}, "", True),
        ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": True}, "", True),
        ({"_is_avx512_bf16_supported": False, "_is_amx_tile_supported": False}, "avx512_bf16", False),
        ({}, "fpu avx2 avx512_bf16 sse", True),
        ({}, "fpu amx_bf16", True),
        ({}, "fpu avx2 avx512f", False),
        ({}, "", False),
    ],
)
def test_the_processor_is_asked_by_pytorch_or_else_by_its_flags(features, flags, expected, monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    for name, value in features.items():
        monkeypatch.setattr(torch.cpu, name, lambda value=value: value, raising=False)
    monkeypatch.setattr(precision, "_flags", lambda: set(flags.split()))
    assert fast_bf16.__wrapped__() is expected


def test_without_a_list_of_flags_nothing_is_fast(monkeypatch):
    def missing(*given, **named):
        raise OSError

    monkeypatch.setattr(precision.Path, "read_text", missing)
    assert precision._flags() == set()


def test_auto_is_bf16_where_it_is_fast_and_the_model_large(fast):
    assert precision_of("auto", LARGE, CPU) == ("bf16" if fast else "fp32")
    assert precision_of("auto", SMALL, CPU) == "fp32"
    assert precision_of("auto", SMALL, GPU) == "bf16"
    assert precision_of("auto", LARGE, torch.device("mps")) == "fp32"
    for asked in ("fp32", "bf16"):
        assert precision_of(asked, LARGE, CPU) == precision_of(asked, SMALL, GPU) == asked


def test_a_sentence_says_which_and_why(fast):
    chosen = precision_of("auto", LARGE, CPU)
    assert ("bf16 (products" in reason("auto", chosen, LARGE, CPU)) is fast
    assert ("has no fast bf16" in reason("auto", chosen, LARGE, CPU)) is not fast
    assert "below 10 million parameters" in reason("auto", "fp32", SMALL, CPU)
    assert reason("bf16", "bf16", SMALL, CPU) == "Training in bf16, as asked."
    assert reason("auto", "bf16", SMALL, GPU) == "Training in bf16 on cuda."


@pytest.mark.skipif(sys.platform == "win32", reason="the system does not say")
def test_the_peak_is_this_process_in_bytes():
    held = torch.ones(1 << 20)
    assert held.numel() * 4 < peak_memory(CPU)["process"] < 1 << 40


def run(loaded, forget, retain, out, **changes):
    own = replace(loaded, model=copy.deepcopy(loaded.model))
    done = unlearn(own, forget, retain, "graddiff", settings=replace(TRAIN, **changes), out=out)
    return done, {name: value.detach().clone() for name, value in own.model.named_parameters()}


def test_the_record_and_the_progress_say_it(loaded, forget, retain, tmp_path, monkeypatch, capsys):
    on(monkeypatch, fast=True)
    done, weights = run(loaded, forget, retain, tmp_path / "auto")
    assert "Training in bf16 (products" in capsys.readouterr().err
    assert done.precision == json.loads((tmp_path / "auto/unlearning.json").read_text())["precision"] == "bf16"
    assert json.loads((tmp_path / "auto/run.json").read_text())["precision"] == "bf16"
    assert done.peak_memory["process"] > 0 or sys.platform == "win32"
    assert {value.dtype for value in weights.values()} == {torch.float32}
    plain, others = run(loaded, forget, retain, tmp_path / "plain", dtype="fp32")
    assert plain.precision == "fp32"
    assert any(not torch.equal(weights[name], others[name]) for name in weights)
    assert "precision" not in json.loads((tmp_path / "plain/run.json").read_text())


class Killed(Exception):
    pass


@pytest.mark.parametrize("begun", [True, False])
def test_a_run_goes_on_in_the_precision_that_it_began_in(begun, loaded, forget, retain, tmp_path, monkeypatch, capsys):
    on(monkeypatch, fast=begun)
    whole = run(loaded, forget, retain, tmp_path / "whole")
    inner = Trainer.step

    def dies(self, number):
        if number == 4:
            raise Killed
        return inner(self, number)

    with monkeypatch.context() as dying:
        dying.setattr(Trainer, "step", dies)
        with pytest.raises(Killed):
            run(loaded, forget, retain, tmp_path / "killed")
    on(monkeypatch, fast=not begun)
    capsys.readouterr()
    done, weights = run(loaded, forget, retain, tmp_path / "killed")
    kept, other = ("bf16", "fp32") if begun else ("fp32", "bf16")
    assert f"began in {kept} and goes on in it; begun here, it would train in {other}" in capsys.readouterr().err
    assert done.precision == whole[0].precision == kept
    for name, value in whole[1].items():
        assert torch.equal(weights[name], value)
    with pytest.raises(RunError, match="dtype"):
        run(loaded, forget, retain, tmp_path / "killed", dtype=other)


def test_weights_become_bf16_once_a_step_and_the_gradient_is_that_of_separate_passes(
    loaded, forget, retain, monkeypatch
):
    """The cache of a step, which both sides share, changes no digit of the gradient."""

    def gradients(shared):
        model = copy.deepcopy(loaded.model)
        streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
        method, settings = METHODS["npo"], replace(TRAIN, dtype="bf16", max_grad_norm=0)
        trainer = Trainer(replace(loaded, model=model), streams, method.trains[0], method.params, settings, 0)
        trainer.prepare()
        trainer.sharded = not shared  # makes no context of its own around the step
        monkeypatch.setattr(trainer, "_parts", lambda rows, side, stage: [(1.0, rows)])
        seen = {}
        trainer.optimizer.step = lambda: seen.update({n: p.grad.clone() for n, p in model.named_parameters()})
        with monkeypatch.context() as plain:
            plain.setattr("leakatk.unlearning.loop.sharding.whole", lambda value: value)
            trainer.step(0)
        return seen

    one, other = gradients(True), gradients(False)
    assert one
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
        assert value.dtype == torch.float32


def test_few_compiled_products_are_kept_unless_the_user_says_how_many(monkeypatch, loaded, forget, retain):
    monkeypatch.delenv(precision.KERNELS, raising=False)
    settings = replace(TRAIN, max_steps=1)
    unlearn(loaded, forget, retain, "graddiff", settings=settings, quiet=True)
    assert os.environ[precision.KERNELS] == "64"
    monkeypatch.setenv(precision.KERNELS, "7")
    unlearn(loaded, forget, retain, "graddiff", settings=settings, quiet=True)
    assert os.environ[precision.KERNELS] == "7"
