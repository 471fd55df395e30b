"""What unlearning a prompt is worth, against gradients taken one by one."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.work import Work
from leakatk.unlearning.worth import worth

PARAMS = {
    "base": "npo",
    "beta": 0.1,
    "outer_leak": 0.5,
    "outer_rounds": 2,
    "reach": 0.01,
    "mirror_rate": 2.0,
    "keep": 1.0,
}


def work_of(loaded, tokenizer, forget, retain, **changed):
    streams = Streams(forget, retain, tokenizer, loaded.template, seed=0)
    return Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), PARAMS | changed, 0)


def slope(model, items, weights):
    """The gradient of sum_i w_i <log p(y_i)> as one vector, and each prompt's own."""
    rows = []
    for item in items:
        ids = torch.tensor([[*item.prompt, *item.answer]])
        logs = torch.log_softmax(model(input_ids=ids).logits[0].double(), -1)
        first = len(item.prompt)
        mean = torch.stack([logs[t - 1, ids[0, t]] for t in range(first, ids.shape[1])]).mean()
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(mean, list(model.parameters()))]).double())
    return sum(w * row for w, row in zip(weights, rows, strict=True)), torch.stack(rows)


def by_hand(work, model):
    forget, retain = (work.streams.items(name) for name in ("forget", "retain"))
    p, count = work.params, len(forget)
    start = [value.detach().clone() for value in model.parameters()]
    length = np.sqrt(sum(float(value.double().square().sum()) for value in start))
    w = np.full(count, 1 / count)
    for _ in range(p["outer_rounds"]):
        down, each = slope(model, forget, w)
        step, place = -p["reach"] * length * down / down.norm(), 0
        with torch.no_grad():
            for value, old in zip(model.parameters(), start, strict=True):
                value.copy_(old + step[place : place + value.numel()].reshape(value.shape).float())
                place += value.numel()
        kept, _ = slope(model, retain, np.full(len(retain), 1 / len(retain)))
        gone, _ = slope(model, forget, np.full(count, 1 / count))
        with torch.no_grad():
            for value, old in zip(model.parameters(), start, strict=True):
                value.copy_(old)
        s = -(each @ (kept - p["outer_leak"] * gone)).numpy()
        w = w * np.exp(p["mirror_rate"] * s / np.abs(s).max())
        w /= w.sum()
    return w * count


def test_weights_are_those_of_gradients_one_by_one(loaded, tokenizer, forget, retain):
    work = work_of(loaded, tokenizer, forget, retain)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    share = work.gathered(worth).params["share"]
    assert all(torch.equal(value, before[name]) for name, value in loaded.model.state_dict().items())
    assert share.numpy() == pytest.approx(by_hand(work, loaded.model), rel=1e-3)
    assert float(share.mean()) == pytest.approx(1, rel=1e-6)
    assert float(share.max() - share.min()) > 0.1
    assert "weighs 5 of 5" in work.notes[-1]
    none = work_of(loaded, tokenizer, forget, retain, outer_rounds=0)
    assert none.gathered(worth).params["share"].tolist() == [1.0] * 5


def test_the_largest_weights_stay(loaded, tokenizer, forget, retain):
    whole = work_of(loaded, tokenizer, forget, retain, outer_rounds=1).gathered(worth).params["share"]
    few = work_of(loaded, tokenizer, forget, retain, outer_rounds=1, keep=0.4).gathered(worth).params["share"]
    first = whole.argsort(descending=True)[:2]
    assert sorted(few.nonzero().flatten().tolist()) == sorted(first.tolist())
    assert few[first].numpy() == pytest.approx((whole[first] / whole[first].sum() * 5).numpy(), rel=1e-4)
    with pytest.raises(InputError, match="keep must be above 0"):
        work_of(loaded, tokenizer, forget, retain, keep=0.0).gathered(worth)
