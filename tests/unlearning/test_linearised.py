"""Fast-NTK: the step leads to the retrained minimum of a linear model, in the published form too; gradients by another way."""

import copy

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.linearised import deletion, linearise
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

NTK = METHODS["fast-ntk"].with_params(penalty=30.0)


def trained(j, f0, y, penalty):
    """phi - phi_0 at the minimum of |f_0 + J phi - y|^2 + lambda |phi|^2"""
    return np.linalg.solve(j.T @ j + penalty * np.eye(j.shape[1]), j.T @ (y - f0))


def published(jr, jf, fr, ff, yr, yf, penalty):
    """P J_f' M V"""
    rr, rf, ff_ = jr @ jr.T + penalty * np.eye(len(jr)), jr @ jf.T, jf @ jf.T + penalty * np.eye(len(jf))
    p = np.eye(jr.shape[1]) - jr.T @ np.linalg.inv(rr) @ jr
    m = np.linalg.inv(ff_ - rf.T @ np.linalg.inv(rr) @ rf)
    return p @ jf.T @ m @ (ff - yf + rf.T @ np.linalg.inv(rr) @ (yr - fr))


@pytest.mark.parametrize("size", [5, 30])
def test_the_step_is_the_published_one_and_leads_to_the_retrained_minimum(size):
    draw = np.random.default_rng(0)
    jr, jf, fr, ff, yr, yf = (draw.normal(size=shape) for shape in ((9, size), (4, size), 9, 4, 9, 4))
    whole, other = np.vstack([jr, jf]), np.concatenate([fr, ff])
    both = trained(whole, other, np.concatenate([yr, yf]), 0.3)
    wanted = trained(jr, fr, yr, 0.3) - both
    left = yf - (ff + jf @ both)
    found = deletion(*(torch.tensor(value) for value in (jr, jf, left)), 0.3).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-10)
    np.testing.assert_allclose(published(jr, jf, fr, ff, yr, yf, 0.3), wanted, atol=1e-10)
    wrong = deletion(*(torch.tensor(value) for value in (jr, jf, -left)), 0.3).numpy()
    assert not np.allclose(wrong, wanted, atol=1e-3)
    free = deletion(*(torch.tensor(value) for value in (0 * jr, jf, left)), 0.3).numpy()  # without P
    assert not np.allclose(free, wanted, atol=1e-3)


def log_odds(model, item):
    logits = model(input_ids=torch.tensor([[*item.prompt, *item.answer]])).logits[0, len(item.prompt) - 1 : -1].double()
    p = logits.softmax(1)[torch.arange(len(item.answer)), torch.tensor(item.answer)]
    return (p / (1 - p)).log().mean()


def test_outputs_and_gradients_by_finite_differences(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    work = Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), NTK.params, 0)
    name = "model.norm.weight"
    outputs, rows = linearise(work, "forget", [name], 3)
    assert rows.shape == (3, 32)
    model = copy.deepcopy(loaded.model).double()
    weight = model.get_parameter(name)
    with torch.no_grad():
        for number, item in enumerate(streams.items("forget")[:3]):
            assert float(outputs[number]) == pytest.approx(float(log_odds(model, item)), abs=1e-4)
            for i in (0, 17):
                ends = []
                for sign in (1, -1):
                    weight[i] += sign * 1e-4
                    ends.append(float(log_odds(model, item)))
                    weight[i] -= sign * 1e-4
                assert float(rows[number, i]) == pytest.approx((ends[0] - ends[1]) / 2e-4, abs=1e-3)


def test_what_makes_no_sense(loaded, forget, retain):
    for params, words in (
        ({"penalty": 0.0}, "penalty must be above 0"),
        ({"items": 0}, "items at least 1"),
        ({"tensors": "nothing"}, "matches no parameter of the model"),
    ):
        with pytest.raises(InputError, match=words):
            unlearn(loaded, forget, retain, NTK.with_params(**params), quiet=True)
