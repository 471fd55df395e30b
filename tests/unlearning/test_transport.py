"""Transport between weights: by sorting in plain Python, by what it must not notice, and by its gradient."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.losses.transport import sliced_wasserstein, weights_at_start
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

SETTINGS = TrainSettings(learning_rate=1e-3, max_steps=4, forget_batch=4, retain_batch=4)


@pytest.fixture
def matrices():
    generator = torch.Generator().manual_seed(0)
    start, now, ways = (torch.randn(n, m, generator=generator).double() for n, m in ((6, 3), (6, 3), (3, 5)))
    return start, now, ways / ways.norm(dim=0)


def test_by_sorting_one_direction_at_a_time(matrices):
    start, now, ways = matrices
    found = [
        sum((a - b) ** 2 for a, b in zip(sorted((start @ u).tolist()), sorted((now @ u).tolist()), strict=True))
        for u in ways.T
    ]
    assert float(sliced_wasserstein(*matrices)) == pytest.approx(np.mean(found))


def test_rows_in_another_order_are_as_far_and_a_shift_is_its_length(matrices):
    start, now, ways = matrices
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    assert float(sliced_wasserstein(start, start[order], ways)) == pytest.approx(0, abs=1e-12)  # no squared difference
    assert float(((start - start[order]) ** 2).sum()) > 1
    assert float(sliced_wasserstein(start, now[order], ways)) == pytest.approx(float(sliced_wasserstein(*matrices)))
    shift = torch.tensor([0.3, -0.2, 0.5]).double()
    wanted = 6 * float(((shift @ ways) ** 2).mean())
    assert float(sliced_wasserstein(start, start + shift, ways)) == pytest.approx(wanted)


def test_its_gradient(matrices):
    start, now, ways = matrices
    assert torch.autograd.gradcheck(lambda weights: sliced_wasserstein(start, weights, ways), (now.requires_grad_(),))


def test_weights_are_trained_whole(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    settings = TrainSettings(max_steps=1, tuning="lora")
    with pytest.raises(InputError, match="train them whole, without --lora"):
        weights_at_start(Work(loaded, forget, retain, streams, settings, {}, 0))


def test_it_holds_the_weights_back(loaded, base_model, forget, retain):
    """The steps on retain answers alone move the weights less where transport counts much."""
    far = []
    for weight in (0.0, 100.0):
        loaded.model.load_state_dict(base_model.state_dict())
        method = METHODS["opt-out"].with_params(transport_weight=weight, forget_weight=0.0, directions=10)
        unlearn(loaded, forget, retain, method, settings=SETTINGS, quiet=True)
        pairs = zip(loaded.model.parameters(), base_model.parameters(), strict=True)
        far.append(sum(float(((a - b).detach() ** 2).sum()) for a, b in pairs))
    assert far[1] < far[0]
