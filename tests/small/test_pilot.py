"""Pilot: its own steps are timed, and what does not fit is refused before anything is trained."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.small import pilot
from leakatk.small.finetune import learning
from leakatk.small.pilot import STEPS, check_disk, disk_of, training_pilot
from leakatk.unlearning.loop import Trainer
from leakatk.unlearning.settings import TrainSettings
from tests.tiny import PROMPTS, save_tiny_model

SETTINGS = TrainSettings(learning_rate=1e-3, epochs=100, retain_batch=3, checkpoint_every=50)


@pytest.fixture
def loaded(tmp_path):
    return load_model(save_tiny_model(tmp_path / "tiny"), device="cpu")


def test_some_steps_of_the_run_are_timed(loaded, monkeypatch):
    now, seen = [0.0], []
    step = Trainer.step

    def slow(self, number):
        seen.append((self.settings.retain_batch, self.settings.tuning))
        now[0] += 100.0 if number == 0 else 7.0
        return step(self, number)

    monkeypatch.setattr(Trainer, "step", slow)
    found = training_pilot(loaded, PROMPTS, learning(), SETTINGS, clock=lambda: now[0])
    assert found.seconds == 7.0  # the first step, which pays for what later ones find ready, does not count
    assert seen == [(3, "full")] * STEPS
    assert found.memory > 1e6


def test_an_adapter_is_timed_as_one(loaded):
    found = training_pilot(loaded, PROMPTS, learning(), replace(SETTINGS, tuning="lora", keep_adapter=True))
    assert found.seconds > 0
    assert set(found.as_dict()) == {"seconds", "memory", "precision"}


def test_the_disk_that_a_model_takes_with_its_checkpoints(loaded):
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    assert disk_of(loaded, SETTINGS) == (1 + 2 * 3) * 4 * size  # two checkpoints of weights and moments
    assert disk_of(loaded, replace(SETTINGS, checkpoint_every=0)) == 4 * size
    assert disk_of(loaded, replace(SETTINGS, tuning="lora")) < size


def test_what_the_disk_does_not_hold_is_refused_with_the_need(loaded, monkeypatch, tmp_path):
    size = disk_of(loaded, replace(SETTINGS, checkpoint_every=0))
    free = {"free": 8 * size}  # of two models, and checkpoints of one at a time
    monkeypatch.setattr(pilot.shutil, "disk_usage", lambda _: SimpleNamespace(**free))
    check_disk(loaded, SETTINGS, tmp_path / "not" / "there" / "yet", 2)
    free["free"] -= 1
    with pytest.raises(InputError, match=r"2 models with their checkpoints take up to .* of disk and .* are free at"):
        check_disk(loaded, SETTINGS, tmp_path / "not" / "there", 2)
    check_disk(loaded, SETTINGS, tmp_path, 1)
