"""Merges against plain numpy, entry by entry."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.merges import calibrate, elected, kept_at_least, ties, trimmed, where_signs_agree

NAMES = ("a", "b", "c")


class Kept:
    """A start and three models of two parameters."""

    def __init__(self):
        generator = torch.Generator().manual_seed(0)

        def weights():
            return {"w": torch.randn(6, 5, generator=generator), "v": torch.randn(7, generator=generator)}

        self.start, self.now = weights(), weights()
        self.kept = {name: weights() for name in NAMES}
        for name in NAMES:
            self.kept[name]["w"][0] = self.start["w"][0]  # nothing learned there


def test_only_entries_of_one_sign_are_subtracted():
    work = Kept()
    found = where_signs_agree(NAMES, lambda p: -p["alpha"])(work, work.now, {"alpha": 0.5})
    for key, value in found.items():
        start = work.start[key].numpy()
        vectors = [work.kept[name][key].numpy() - start for name in NAMES]
        expected = start.copy()
        for place in np.ndindex(start.shape):
            entries = [vector[place] for vector in vectors]
            if all(e > 0 for e in entries) or all(e < 0 for e in entries):
                expected[place] -= 0.5 * np.mean(entries)
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-6)
        assert not np.allclose(expected, start - 0.5 * np.mean(vectors, axis=0))


def test_ties_trims_elects_and_takes_the_mean_of_those_that_agree():
    work = Kept()
    found = ties(NAMES)(work, work.now, {"density": 0.6})
    for key, value in found.items():
        start = work.start[key].numpy()
        vectors = []
        for name in NAMES:
            vector = work.kept[name][key].numpy() - start
            order = np.argsort(-np.abs(vector), axis=None)[: round(0.6 * vector.size)]
            kept = np.zeros(vector.size)
            kept[order] = vector.flatten()[order]
            vectors.append(kept.reshape(vector.shape))
        expected = start.copy()
        for place in np.ndindex(start.shape):
            entries = [vector[place] for vector in vectors]
            agree = [e for e in entries if e * sum(entries) > 0]
            expected[place] += np.mean(agree) if agree else 0
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_trimmed_vector_keeps_its_largest_entries():
    vector = torch.tensor([3.0, -1.0, 0.5, -4.0, 2.0])
    assert trimmed(vector, 0.6).tolist() == [3.0, 0.0, 0.0, -4.0, 2.0]
    assert trimmed(vector, 1.0).equal(vector)
    assert trimmed(vector, 0.01).tolist() == [0.0, 0.0, 0.0, -4.0, 0.0]


def test_entries_that_cancel_elect_nobody():
    assert elected(torch.tensor([[1.0, 2.0], [-1.0, 1.0]])).tolist() == [0.0, 1.5]


class Learner:
    """A work whose model is one number: the share of retain tokens that it puts first."""

    def __init__(self, monkeypatch, strength):
        self.weight = torch.nn.Parameter(torch.tensor([0.0]))
        self.start, self.now = {"w": torch.tensor([1.0])}, {"w": self.weight.detach()}  # the parameter's own memory
        self.loaded, self.notes = self, []
        monkeypatch.setattr(
            "leakatk.unlearning.merges.right_tokens",
            lambda work, stream: [
                [False] * (1000 - n) + [True] * n for n in [int(1000 * strength(float(self.weight.detach())))]
            ],
        )

    @property
    def model(self):
        return self

    def named_parameters(self):
        return [("w", self.weight)]


def test_the_least_share_of_the_start_that_keeps_the_retain_set(monkeypatch):
    work = Learner(monkeypatch, lambda share: 0.2 + 0.6 * share)  # .8 at the start; .76 of it at .9333
    found = calibrate(work, work.now, {"keep_at_least": 0.95, "tries": 8})
    assert float(found["w"]) == pytest.approx(0.9333, abs=1 / 256 + 0.002)
    assert "share of 0.93" in work.notes[0]
    assert "0.800 before" in work.notes[0]


def test_what_is_kept_already_stays_as_it_is(monkeypatch):
    work = Learner(monkeypatch, lambda share: 0.8)
    assert float(calibrate(work, work.now, {"keep_at_least": 0.95, "tries": 8})["w"]) == 0


def test_an_edit_goes_no_farther_than_the_retain_set_allows(monkeypatch):
    """NegMerge's search: the edit leads from 1 to -1, and is taken as far as 95% of the strength allow; 0 takes the whole."""
    work = Learner(monkeypatch, lambda weight: 0.5 + 0.3 * weight)
    edit = kept_at_least(lambda work, now, params: {"w": torch.tensor([-1.0])})
    found = edit(work, work.now, {"keep_at_least": 0.95, "tries": 8})
    assert float(found["w"]) == pytest.approx(1 - 0.04 / 0.3, abs=2 / 256 + 0.005)
    assert float(edit(work, work.now, {"keep_at_least": 0.0, "tries": 8})["w"]) == -1


@pytest.mark.parametrize("wrong", [{"keep_at_least": 1.5}, {"tries": 0}])
def test_a_control_that_is_none(monkeypatch, wrong):
    work = Learner(monkeypatch, lambda share: 0.8)
    with pytest.raises(InputError, match="keep_at_least must be between 0 and 1"):
        calibrate(work, work.now, {"keep_at_least": 0.95, "tries": 8, **wrong})


@pytest.mark.parametrize("density", [0.0, 1.5])
def test_a_density_that_is_none(density):
    work = Kept()
    with pytest.raises(InputError, match="density must be above 0 and at most 1"):
        ties(NAMES)(work, work.now, {"density": density})
