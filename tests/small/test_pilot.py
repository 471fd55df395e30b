"""Pilot: its own steps are timed, and what does not fit is refused before anything is trained."""

from dataclasses import replace

import pytest

from leakatk.errors import InputError
from leakatk.models.load import load_model
from leakatk.small import pilot
from leakatk.small.finetune import learning
from leakatk.small.pilot import STEPS, check_room, need_of, training_pilot
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
    monkeypatch.setattr(pilot.time, "perf_counter", lambda: now[0])
    found = training_pilot(loaded, PROMPTS, learning(), SETTINGS)
    assert found.seconds == 7.0  # the first step, which pays for what later ones find ready, does not count
    assert seen == [(3, "full")] * STEPS
    assert found.memory > 1e6


def test_an_adapter_is_timed_as_one(loaded):
    found = training_pilot(loaded, PROMPTS, learning(), replace(SETTINGS, tuning="lora", keep_adapter=True))
    assert found.seconds > 0
    assert set(found.as_dict()) == {"seconds", "memory", "precision"}


def test_what_training_adds_to_the_weights(loaded):
    size = sum(parameter.numel() for parameter in loaded.model.parameters())
    need = need_of(loaded, SETTINGS)
    assert need.memory == 3 * 4 * size  # gradients and two moments; the weights are there
    assert need.disk == (1 + 2 * 3) * 4 * size  # two checkpoints of weights and moments
    assert need_of(loaded, replace(SETTINGS, checkpoint_every=0)).disk == 4 * size
    loaded.model.bfloat16()
    assert need_of(loaded, SETTINGS).memory == (4 * 4 - 2) * size
    assert need_of(loaded, replace(SETTINGS, tuning="lora")).memory == 0


def test_what_does_not_fit_is_refused_with_the_need(loaded, monkeypatch, tmp_path):
    check_room(loaded, SETTINGS, tmp_path / "not" / "there" / "yet")
    monkeypatch.setattr(pilot, "need_of", lambda *_: pilot.Need(5e15, 0.0))
    with pytest.raises(InputError, match=r"at least 5000000\.0 GB more memory and .* free; train an adapter"):
        check_room(loaded, SETTINGS, tmp_path)
    monkeypatch.setattr(pilot, "need_of", lambda *_: pilot.Need(0.0, 7e18))
    with pytest.raises(InputError, match=r"up to 7000000000\.0 GB of disk and .* are free at"):
        check_room(loaded, SETTINGS, tmp_path / "not" / "there")
