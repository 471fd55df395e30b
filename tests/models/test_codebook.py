"""The codebook: choice and sum a second time in NumPy, planted codes found again, numbers that are refused."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.models.codebook import Codebook, fit_codebook


def test_a_state_is_the_sum_of_its_nearest_codes():
    draw = np.random.default_rng(0)
    codes, states = draw.normal(size=(9, 4)), draw.normal(size=(5, 4))
    book = Codebook(torch.tensor(codes), 3)
    found, said = book.chosen(torch.tensor(states).float()), book(torch.tensor(states).float())
    for row, state in enumerate(states):
        angles = [code @ state / np.linalg.norm(code) / np.linalg.norm(state) for code in codes]
        wanted = sorted(range(9), key=lambda i: -angles[i])[:3]
        assert found[row].tolist() == wanted
        np.testing.assert_allclose(said[row].detach().numpy(), codes[wanted].sum(0), rtol=1e-5)


def test_states_that_are_sums_of_codes_are_learnt():
    draw = torch.Generator().manual_seed(0)
    centres = torch.nn.functional.normalize(torch.randn(6, 16, generator=draw), dim=-1) * 3
    states = centres[torch.randint(6, (400,), generator=draw)] + 0.05 * torch.randn(400, 16, generator=draw)
    numbers = {"codes": 24, "top": 1, "learning_rate": 1e-2}
    book = fit_codebook(states, steps=150, **numbers)
    spread = float((states - states.mean(0)).square().sum())

    def left(book):
        return float((states - book(states)).square().sum()) / spread

    assert left(book) < 0.02 < left(fit_codebook(states, steps=1, **numbers)) + 0.02
    again = fit_codebook(states, steps=150, **numbers)
    assert torch.equal(book.codes, again.codes)
    assert not torch.equal(book.codes, fit_codebook(states, steps=150, seed=1, **numbers).codes)


@pytest.mark.parametrize(
    ("states", "numbers", "said"),
    [
        (torch.ones(1, 3), {}, "at least two states"),
        (torch.full((4, 3), float("nan")), {}, "infinite or no number"),
        (torch.ones(4, 3), {"top": 9}, "top = 9 of 4 codes"),
        (torch.ones(4, 3), {"steps": 0}, "codes, steps and batch are at least 1"),
    ],
)
def test_what_is_refused(states, numbers, said):
    with pytest.raises(InputError, match=said):
        fit_codebook(states, **{"codes": 4, "top": 2, "steps": 1, **numbers})
