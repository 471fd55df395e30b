"""ACU: the downdated readout is the one of the other rows, and what its rows and targets are, a second time."""

import numpy as np
import pytest
import torch

from leakatk.errors import InputError
from leakatk.unlearning.analytic import downdate, rows_of
from leakatk.unlearning.methods import METHODS
from leakatk.unlearning.settings import TrainSettings
from leakatk.unlearning.streams import Streams
from leakatk.unlearning.trainer import unlearn
from leakatk.unlearning.work import Work

ACU = METHODS["acu"]
DOWN = "model.layers.1.mlp.down_proj.weight"


def test_rows_that_are_taken_out_leave_the_regression_of_the_others():
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(40, 7)), draw.normal(size=(40, 3))

    def solved(rows):
        inverse = np.linalg.inv(x[rows].T @ x[rows] + 0.3 * np.eye(7))
        return inverse, (inverse @ x[rows].T @ y[rows]).T

    every, left = np.arange(40), np.arange(29)
    r, w = (torch.tensor(value) for value in solved(every))
    for rows in (every[29:34], every[34:]):  # in two batches
        r, w = downdate(r, w, torch.tensor(x[rows]), torch.tensor(y[rows]))
    wanted = solved(left)
    np.testing.assert_allclose(r, wanted[0], atol=1e-10)
    np.testing.assert_allclose(w, wanted[1], atol=1e-10)
    old = torch.tensor(solved(every)[1])  # the old W in place of W', or the old R, is another one
    wrong = old - (torch.tensor(y[29:]) - torch.tensor(x[29:]) @ old.T).T @ torch.tensor(x[29:]) @ torch.tensor(
        solved(every)[0]
    )
    assert not np.allclose(wrong, wanted[1], atol=1e-3)


def by_hand(model, items):
    """Inputs and targets of all answer tokens, a text at a time."""
    kept, inputs, targets = {}, [], []
    block = model.model.layers[1]
    handles = [
        block.mlp.down_proj.register_forward_hook(lambda _, x, out: kept.update(x=x[0][0], out=out[0])),
        block.register_forward_hook(lambda _, __, out: kept.update(h=(out[0] if isinstance(out, tuple) else out)[0])),
    ]
    table = model.lm_head.weight.detach().double().numpy()
    for item in items:
        with torch.no_grad():
            model(input_ids=torch.tensor([[*item.prompt, *item.answer]]))
        x, out, h = (kept[name].double().numpy() for name in ("x", "out", "h"))
        for i, word in enumerate(item.answer):
            at = len(item.prompt) + i - 1
            row = table[word] / np.linalg.norm(table[word])
            inputs.append(x[at])
            targets.append(np.linalg.norm(h[at] - out[at]) * row - (h[at] - out[at]))
    for handle in handles:
        handle.remove()
    return np.stack(inputs), np.stack(targets)


def test_what_the_readout_reads_and_is_to_give(loaded, forget, retain):
    streams = Streams(forget, retain, loaded.tokenizer, loaded.template, seed=0)
    work = Work(loaded, forget, retain, streams, TrainSettings(max_steps=1), ACU.params, 0)
    with torch.no_grad():
        parts = list(rows_of(work, "forget"))
    inputs, targets = by_hand(loaded.model, streams.items("forget"))
    np.testing.assert_allclose(torch.cat([x for x, _ in parts]), inputs, atol=1e-4)
    np.testing.assert_allclose(torch.cat([y for _, y in parts]), targets, atol=1e-4)


def test_a_penalty_of_nothing(loaded, forget, retain):
    with pytest.raises(InputError, match="penalty of a ridge regression must be above 0"):
        unlearn(loaded, forget, retain, ACU.with_params(penalty=0.0), quiet=True)
