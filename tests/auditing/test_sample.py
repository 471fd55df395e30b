"""Sampling into a run: what is asked, resumed, extended and refused."""

import numpy as np
import pytest

from leakatk.auditing.sample import MAX_N, as_sampler, sample
from leakatk.errors import InputError, RunError
from leakatk.sampling.decoding import Decoding
from tests.auditing.scripted import PROMPTS, Scripted


class Counting(Scripted):
    def __init__(self):
        super().__init__(lambda prompt, j, greedy: f"{prompt.id} {j}")
        self.asked = []

    def sample(self, requests, decoding, *, seed):
        self.asked += [(request.prompt.id, j) for request in requests for j in request.samples]
        yield from super().sample(requests, decoding, seed=seed)


def test_a_run_grows_and_asks_for_what_is_lacking_alone(tmp_path):
    engine = Counting()
    few = sample(engine, PROMPTS[:2], n=2, out=tmp_path / "run", quiet=True)
    assert few.texts() == [["p0 0", "p0 1"], ["p1 0", "p1 1"]]
    engine.asked.clear()
    many = sample(engine, PROMPTS[:2], n=3, out=tmp_path / "run", quiet=True)
    assert sorted(engine.asked) == [("p0", 2), ("p1", 2)]
    assert np.shape(many.texts()) == (2, 3)
    with pytest.raises(RunError, match=r"made otherwise.*seed"):
        sample(engine, PROMPTS[:2], n=3, seed=1, out=tmp_path / "run", quiet=True)


@pytest.mark.parametrize("n", [0, -1, MAX_N + 1])
def test_odd_numbers_of_samples(tmp_path, n):
    with pytest.raises(InputError, match="n must be at least 1"):
        sample(Counting(), PROMPTS, n=n, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Refusing(Counting):
    def prepare(self, run, decoding, *, n):
        raise InputError("not this run")


def test_a_run_that_the_engine_refuses_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError, match="not this run"):
        sample(Refusing(), PROMPTS, n=1, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_an_engine_is_taken_as_it_is():
    engine = Counting()
    assert as_sampler(engine) is engine


def test_without_a_directory_the_run_is_kept_for_its_life():
    run = sample(Counting(), PROMPTS[:1], n=1, decoding=Decoding(temperature=0), quiet=True)
    assert run.texts() == [["p0 0"]]
    assert run.path.exists()
