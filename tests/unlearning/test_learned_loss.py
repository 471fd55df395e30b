"""A learned loss: what it sees, descent on it, and the gradient through that descent."""

import copy

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from leakatk.errors import InputError
from leakatk.unlearning.learned_loss import LearnedLoss, descended, features, nll_of, outer_loss, said
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from tests.unlearning.conftest import people

QUICK = METHODS["metaunlearn"].with_params(meta_steps=2, batch=3, width=4)
MLP = "model.layers.1.mlp.down_proj.weight"


def test_features_by_numpy():
    logs = torch.log_softmax(torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0)), -1)
    labels = torch.tensor([[2], [0], [6], [3]])
    p = logs.exp().numpy()
    for row, (label, found) in enumerate(zip(labels[:, 0].tolist(), features(labels, logs).tolist(), strict=True)):
        rest = np.delete(p[row], label)
        assert found == pytest.approx(
            [np.log(p[row, label]), np.log(rest.max()), -(p[row] * np.log(p[row])).sum() / np.log(7)]
        )


@pytest.fixture
def setting(loaded, tokenizer, forget, retain):
    """A model in double precision, one of its matrices, and the items of both sets."""
    model = loaded.model.double().requires_grad_(False)
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    torch.manual_seed(0)
    return model, LearnedLoss(4).double(), streams.items("forget"), streams.items("retain")


def start(model):
    return {MLP: dict(model.named_parameters())[MLP].detach().clone().requires_grad_(True)}


def test_what_is_said_is_the_models_own(setting):
    model, _, forget, _ = setting
    for item, (labels, logs) in zip(forget, said(model, {}, forget), strict=True):
        alone = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0]
        expected = torch.log_softmax(alone, -1)[len(item.prompt) - 1 : -1]
        assert labels[:, 0].tolist() == list(item.answer)
        assert torch.allclose(logs, expected)
    own = [logs.gather(1, labels).mean() for labels, logs in said(model, {}, forget)]
    assert float(nll_of(said(model, {}, forget))) == pytest.approx(-np.mean([float(one) for one in own]))


def test_a_step_goes_down_the_learned_loss(setting):
    model, loss, forget, _ = setting
    after = descended(model, loss, start(model), forget[:2], 1, 0.5, graph=False)
    other = copy.deepcopy(model)
    weight = dict(other.named_parameters())[MLP].requires_grad_(True)
    loss(said(other, {}, forget[:2])).backward()
    assert torch.allclose(after[MLP], weight.detach() - 0.5 * weight.grad)


def test_the_outer_gradient_goes_through_the_step(setting):
    """Against finite differences of the loss's own numbers; without the graph there would be none."""
    model, loss, forget, retain = setting
    level = torch.tensor(3.0, dtype=torch.float64)

    def outer(graph=True):
        after = descended(model, loss, start(model), forget[:1], 2, 0.5, graph=graph)
        distance, whole = outer_loss(model, after, forget[1:3], level, retain[:2], 2.0)
        mine, others = (float(nll_of(said(model, after, rows)).detach()) for rows in (forget[1:3], retain[:2]))
        assert float(distance.detach()) == pytest.approx(abs(mine - 3.0))
        assert float(whole.detach()) == pytest.approx(abs(mine - 3.0) + 2 * others)
        return whole

    with sdpa_kernel(SDPBackend.MATH):
        numbers = loss.network[0].weight
        (slope,) = torch.autograd.grad(outer(), [numbers])
        with torch.no_grad():
            values = []
            for change in (1e-2, -2e-2):  # norms are computed in 32 bits, which small steps would show
                numbers[1, 0] += change
                with torch.enable_grad():
                    values.append(float(outer().detach()))
            numbers[1, 0] += 1e-2
        assert float(slope[1, 0]) == pytest.approx((values[0] - values[1]) / 2e-2, rel=5e-3)
        assert float(slope[1, 0]) != 0
        (none,) = torch.autograd.grad(outer(graph=False), [numbers], allow_unused=True)
        assert none is None


def test_what_cannot_be_done_is_said(loaded, forget):
    for method, retain, match in (
        (QUICK.with_params(layers=3), people("Re", 3), "layers must be at most 2"),
        (QUICK.with_params(meta_steps=0), people("Re", 3), "meta_steps must be at least 1"),
        (QUICK, people("Re", 1), "at least two people"),
    ):
        with pytest.raises(InputError, match=match):
            unlearn(loaded, forget, retain, method, quiet=True)
