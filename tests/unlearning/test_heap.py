"""What the C library keeps of freed memory goes back to the system, at every eighth step of a CPU's training."""

from pathlib import Path

import pytest

from leakatk.unlearning import heap
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.trainer import unlearn


def resident():
    """MB"""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(heap._trim() is None, reason="the C library has no malloc_trim")
def test_what_was_freed_between_living_pieces_is_given_back():
    pieces = [bytearray(b"x" * 60_000) for _ in range(4000)]  # 240 MB, each below the size that is mapped by itself
    full = resident()
    del pieces[::2]  # 120 MB that the C library keeps, for each piece stands between two that live
    heap.give_back()
    assert len(pieces) == 2000
    assert full - resident() > 60


@pytest.mark.parametrize(("steps", "times"), [(7, 0), (8, 1), (20, 2)])
def test_every_eighth_step_of_training(monkeypatch, loaded, forget, retain, steps, times):
    given = []
    monkeypatch.setattr(heap, "give_back", lambda: given.append(1))
    settings = TrainSettings(learning_rate=1e-4, max_steps=steps, forget_batch=2, retain_batch=2)
    unlearn(loaded, forget, retain, METHODS["graddiff"], settings=settings)
    assert len(given) == times
